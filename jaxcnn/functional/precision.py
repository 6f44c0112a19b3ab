"""Where sums need more digits than their terms."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxcnn.typing import Array


def widen(x: Array) -> Array:
    """`x` in float32, or as it is if that is as wide or wider."""
    return x.astype(wide(x.dtype))


def wide(dtype: Any) -> Any:
    """float32, or `dtype` if that is as wide or wider: the dtype in which to accumulate."""
    return jnp.dtype(jnp.float32) if jnp.dtype(dtype).itemsize < 4 else jnp.dtype(dtype)
