"""Where sums need more digits than their terms."""

from __future__ import annotations

import jax.numpy as jnp

from jaxcnn.typing import Array


def widen(x: Array) -> Array:
    """`x` in float32, or as it is if that is as wide or wider."""
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
