"""Modules of `flax.nnx` for tests; to be imported only where `nnx_works`."""

from __future__ import annotations

import jax
from flax import nnx

from jaxcnn.interop.flax.nnx import from_nnx


class NnxBlock(nnx.Module):
    """The same block as nnx users write it, with a list of two heads."""

    def __init__(self, channels: int, features: int, rate: float = 0.3, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(channels, features, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(features, features, rngs=rngs) for _ in range(2)])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.drop(nnx.relu(self.norm(self.conv(x))))
        return self.heads[0](x) + self.heads[1](x)


LINEAR = from_nnx(nnx.Linear, 4, 3)
BLOCK = from_nnx(NnxBlock, 2, features=3)
