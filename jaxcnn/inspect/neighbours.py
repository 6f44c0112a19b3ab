"""Which images the network takes for similar: nearest in its features."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, describe


@partial(jax.jit, static_argnames=("k", "block"))
def nearest_neighbours(
    queries: Array, gallery: Array, k: int, *, block: int = 16
) -> tuple[Array, Array]:
    """The k rows of `gallery` nearest to each row of `queries`.

    Args:
      queries: features [Q, D], floating.
      gallery: features [G, D], floating.
      k: how many, 1 .. G.
      block: queries at a time; memory is `block * G` numbers, and the result the same.

    Returns:
      Indices [Q, k] int32, and Euclidean distances [Q, k] in float32 or wider, nearest first;
      of rows equally near the one with the lower index. A row with NaN is infinitely far.

    Raises:
      ShapeError: the shapes or dtypes do not fit, or k or block is out of range.

    Numerical decision: distances come from differences, not from `|q|^2 - 2 q g + |g|^2`, whose
    cancellation would give equal rows a distance above zero.

    >>> index, distance = nearest_neighbours(jnp.zeros((1, 2)), jnp.asarray([[3.0, 4], [0, 1]]), 2)
    >>> index.tolist(), distance.tolist()
    ([[1, 0]], [[1.0, 5.0]])

    Source: Krizhevsky et al. 2012, who show the six training images nearest in the last hidden
    layer; deck E.
    """
    floating = all(jnp.issubdtype(x.dtype, jnp.floating) for x in (queries, gallery))
    fits = queries.ndim == gallery.ndim == 2 and queries.shape[1] == gallery.shape[1]
    if not floating or not fits or queries.dtype != gallery.dtype:
        raise ShapeError(
            f"got queries {describe(queries)} and a gallery {describe(gallery)}, expected [Q, D] "
            "and [G, D], floating and of one dtype.\nMaps need flattening: `x.reshape(len(x), -1)`."
        )
    if not 1 <= k <= gallery.shape[0] or block < 1:
        raise ShapeError(
            f"k={k}, block={block} is not allowed for a gallery {describe(gallery)}: use "
            f"k in 1 .. {gallery.shape[0]} and a block of at least 1."
        )
    rows = widen(gallery)

    def nearest(query: Array) -> tuple[Array, Array]:
        squares = jnp.sum(jnp.square(rows - query[None, :]), axis=-1)  # [G]
        # `top_k` would take a NaN for the largest of all.
        squares = jnp.where(jnp.isnan(squares), jnp.inf, squares)
        negative, index = jax.lax.top_k(-squares, k)
        return index, jnp.sqrt(-negative)

    return jax.lax.map(nearest, widen(queries), batch_size=block)
