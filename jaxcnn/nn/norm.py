"""Normalization layers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn import functional as F
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Context, concise_repr
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Batch normalization: each channel is normalized over batch and space.

    Training uses the statistics of the batch (padding rows left out, all devices of
    `axis_name` together) and moves the running statistics,
    `running <- decay * running + (1 - decay) * batch`. Evaluation uses the running ones.

    Attributes:
      decay: the fraction of the running statistics that is kept, in [0, 1]. Flax calls it
        `momentum`; PyTorch's `momentum` is `1 - decay`.
      epsilon: added to the variance.

    Parameters: `scale` and `bias` [C]. State: `mean` and `var` [C], float32, biased
    (PyTorch keeps the unbiased variance).

    Source: Ioffe and Szegedy 2015; deck A. Numerical decisions: `functional.norm`.
    """

    decay: float = 0.9
    epsilon: float = 1e-5
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1 or self.epsilon <= 0:
            raise ConfigError(
                f"decay={self.decay!r}, epsilon={self.epsilon!r} is not allowed: "
                "decay is the fraction kept, in [0, 1], and epsilon is positive."
            )

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key  # nothing random
        shape = (x.shape[-1],)
        params = {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}
        return params, {"mean": jnp.zeros(shape), "var": jnp.ones(shape)}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        if not ctx.train:
            mean, var = state["mean"], state["var"]
            return self._normalize(params, x, mean, var), state
        mean, var = F.moments(x, tuple(range(x.ndim - 1)), mask=ctx.mask, axis_name=ctx.axis_name)
        batch = jax.lax.stop_gradient({"mean": mean, "var": var})
        kept = {
            name: self.decay * state[name] + (1 - self.decay) * batch[name].astype(old.dtype)
            for name, old in state.items()
        }
        return self._normalize(params, x, mean, var), kept

    def _normalize(self, params: Params, x: Array, mean: Array, var: Array) -> Array:
        return F.normalize(x, mean, var, params["scale"], params["bias"], epsilon=self.epsilon)
