"""Initial values of parameters: frozen, comparable descriptions that are called.

`initializer(key, shape, dtype) -> array`. Kernels are laid out `[..., in, out]`, so
fan-in is the product of all axes but the last, fan-out the receptive field times the
last. The draws are those of `jax.nn.initializers`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from jaxcnn.layer import concise_repr
from jaxcnn.typing import Array, Key


class Initializer(Protocol):
    """Makes an array of `shape` and `dtype` from a key."""

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array: ...


@dataclasses.dataclass(frozen=True)
class VarianceScaling:
    """Variance `scale / fan`, where `fan` is the kernel's fan-in, fan-out or their mean."""

    scale: float
    mode: Literal["fan_in", "fan_out", "fan_avg"]
    distribution: Literal["truncated_normal", "normal", "uniform"]

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        draw = jax.nn.initializers.variance_scaling(self.scale, self.mode, self.distribution)
        return draw(key, tuple(shape), dtype)


@dataclasses.dataclass(frozen=True)
class Constant:
    """Every entry is `value`. For biases and scales; a constant kernel cannot learn."""

    value: float
    __repr__ = concise_repr

    def __call__(self, key: Key, shape: Sequence[int], dtype: Any = jnp.float32, /) -> Array:
        del key  # nothing random here
        return jnp.full(shape, self.value, dtype)


lecun_normal = VarianceScaling(1.0, "fan_in", "truncated_normal")
"""Variance 1/fan_in: keeps the variance of linear and tanh units (LeCun et al. 1998)."""

he_normal = VarianceScaling(2.0, "fan_in", "truncated_normal")
"""Variance 2/fan_in: keeps the variance through ReLU (He et al. 2015)."""

glorot_uniform = VarianceScaling(1.0, "fan_avg", "uniform")
"""Variance 2/(fan_in + fan_out) (Glorot and Bengio 2010)."""

zeros = Constant(0.0)
ones = Constant(1.0)
