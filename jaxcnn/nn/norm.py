"""Normalization layers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn import functional as F
from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
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
      local: with `axis_name` (`shard_map`, `pmap`), each device normalizes its own rows, and the
        running statistics are the mean over devices of theirs: as other libraries do unless
        asked, and without an exchange in the forward pass, but the result then depends on the
        number of devices.

    Parameters: `scale` and `bias` [C]. State: `mean` and `var` [C], float32, biased
    (PyTorch keeps the unbiased variance).

    Source: Ioffe and Szegedy 2015; deck A. Numerical decisions: `functional.norm`.
    """

    decay: float = 0.9
    epsilon: float = 1e-5
    local: bool = False
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
        params = {"scale": jnp.ones(shape, jnp.float32), "bias": jnp.zeros(shape, jnp.float32)}
        return params, {"mean": jnp.zeros(shape, jnp.float32), "var": jnp.ones(shape, jnp.float32)}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        if not ctx.train:
            mean, var = state["mean"], state["var"]
            return self._normalize(params, x, mean, var), state
        shared = None if self.local else ctx.axis_name
        mean, var = F.moments(x, tuple(range(x.ndim - 1)), mask=ctx.mask, axis_name=shared)
        batch = jax.lax.stop_gradient({"mean": mean, "var": var})
        if self.local and ctx.axis_name is not None:
            batch = jax.lax.pmean(batch, ctx.axis_name)
        kept = {
            name: self.decay * state[name] + (1 - self.decay) * batch[name].astype(old.dtype)
            for name, old in state.items()
        }
        return self._normalize(params, x, mean, var), kept

    def _normalize(self, params: Params, x: Array, mean: Array, var: Array) -> Array:
        return F.normalize(x, mean, var, params["scale"], params["bias"], epsilon=self.epsilon)


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """Normalizes the channels of each example and place; see `functional.layer_norm`.

    Attributes:
      epsilon: added to the variance.

    Parameters: `scale` and `bias` [C]. No state: the same in training and evaluation.
    """

    epsilon: float = 1e-6
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key  # nothing random
        return _scale_and_bias(x), {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        return F.layer_norm(x, params["scale"], params["bias"], epsilon=self.epsilon), state


@dataclasses.dataclass(frozen=True)
class GroupNorm:
    """Normalizes over space and groups of channels; see `functional.group_norm`.

    Attributes:
      groups: number of groups; must divide the channels.
      epsilon: added to the variance.

    Parameters: `scale` and `bias` [C]. No state: the same in training and evaluation.
    """

    groups: int = 32
    epsilon: float = 1e-6
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.groups, "groups")
        _check_epsilon(self.epsilon)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key  # nothing random
        return _scale_and_bias(x), {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        y = F.group_norm(
            x, params["scale"], params["bias"], groups=self.groups, epsilon=self.epsilon
        )
        return y, state


@dataclasses.dataclass(frozen=True)
class LocalResponseNorm:
    """AlexNet's normalization by neighbouring channels; see `functional.local_response_norm`.

    Attributes:
      window: channels that are summed, odd.
      k, alpha, beta: constants of the formula. Caffe's and PyTorch's `alpha` is `window` times
        this one.
    """

    window: int = 5
    _: dataclasses.KW_ONLY
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        y = F.local_response_norm(x, window=self.window, k=self.k, alpha=self.alpha, beta=self.beta)
        return y, state


def _scale_and_bias(x: Spec) -> Params:
    return {
        "scale": jnp.ones(x.shape[-1:], jnp.float32),
        "bias": jnp.zeros(x.shape[-1:], jnp.float32),
    }


def _check_epsilon(epsilon: float) -> None:
    if epsilon <= 0:
        raise ConfigError(f"epsilon={epsilon!r} is not allowed: expected a positive number.")
