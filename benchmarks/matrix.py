"""The machine's yardstick: a float32 matrix product of 2048x2048, measured like a library."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.peers import Trainer

VERSION = jax.__version__
SIZE = 2048
FLOPS = 2 * SIZE**3
"""Floating-point operations of one product."""


def make(network: object) -> Trainer:
    """Matrix products in place of steps; the network does not matter."""
    del network
    return _Matrix()


class _Matrix:
    parameters = 0

    def __init__(self) -> None:
        first, second = jax.random.split(jax.random.key(0))
        self._a = jax.random.normal(first, (SIZE, SIZE), jnp.float32)
        self._b = jax.random.normal(second, (SIZE, SIZE), jnp.float32)
        self._product = jax.jit(jnp.dot)

    def run(self, steps: int) -> float:
        for _ in range(steps):
            product = self._product(self._a, self._b)
        jax.block_until_ready(product)
        return float(product[0, 0])
