"""What the network is given, and in which dtypes it computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array, Params

Prepare = Callable[[Array], Array]
"""From stored to floating images, `[N, H, W, C] -> [N, H, W, C]`."""

_DTYPES = ("float32", "bfloat16", "float16", "float64")


def as_stored(images: Array) -> Array:
    """No preparation: for images that are floating already."""
    return images


@dataclasses.dataclass(frozen=True)
class Precision:
    """Dtypes of a training: a policy, not a property of layers.

    Layers compute in the dtype of their input and cast their parameters to it, so `compute`
    is the dtype that the prepared images are cast to. Whatever it is, statistics are
    accumulated in float32, the loss is computed in `output`, gradients arrive in the dtype of
    the parameters, and the optimizer updates those.

    Attributes:
      param: dtype that the parameters are kept and updated in.
      compute: dtype of activations and products; products of bfloat16 add up in float32.
      output: dtype of the logits that the loss sees.

    `MIXED` is float32, bfloat16, float32. There is no loss scaling: bfloat16 has the range of
    float32. With float16 small gradients vanish; it is for inference.

    >>> Precision(compute="bfloat16") == MIXED
    True
    """

    param: str = "float32"
    compute: str = "float32"
    output: str = "float32"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) not in _DTYPES:
                raise ConfigError(
                    f"{field.name}={getattr(self, field.name)!r} is not allowed: use one of "
                    f"{', '.join(_DTYPES)}."
                )

    def preparing(self, prepare: Prepare) -> Prepare:
        """`prepare`, and then the cast to the dtype that the network computes in."""
        if self == FLOAT32:
            return prepare  # what was not asked for is not cast: float64 stays float64
        return lambda images: prepare(images).astype(jnp.dtype(self.compute))

    def finish(self, logits: Array) -> Array:
        """The logits in the dtype that the loss is computed in."""
        return logits if self == FLOAT32 else logits.astype(jnp.dtype(self.output))

    def keep(self, params: Params) -> Params:
        """Fresh parameters in the dtype that they are kept in."""
        return jax.tree.map(lambda p: p.astype(jnp.dtype(self.param)), params)


FLOAT32 = Precision()
"""Nothing is cast."""

MIXED = Precision(compute="bfloat16")
"""Activations in bfloat16; parameters and losses in float32."""
