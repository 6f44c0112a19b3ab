"""The network's answer in order, for bars of the five most probable classes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, describe


@partial(jax.jit, static_argnames="k")
def top_k(logits: Array, k: int) -> tuple[Array, Array]:
    """The k most probable classes and their probabilities, the largest first.

    Args:
      logits: [N, K], floating, before any softmax.
      k: how many, 1 .. K.

    Returns:
      Classes [N, k] int32 and probabilities [N, k], float32 or wider. Of equal logits the
      lower class comes first.

    Raises:
      ShapeError: `logits` are not floating [N, K] or k is outside 1 .. K.

    >>> classes, probabilities = top_k(jnp.log(jnp.asarray([[0.25, 0.0, 0.75]])), 2)
    >>> classes.tolist(), probabilities.round(2).tolist()
    ([[2, 0]], [[0.75, 0.25]])

    Source: Krizhevsky et al. 2012; deck E.
    """
    if logits.ndim != 2 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ShapeError(f"got logits {describe(logits)}, expected floating [N, K].")
    if not 1 <= k <= logits.shape[1]:
        raise ShapeError(
            f"k={k} is not allowed for logits {describe(logits)}: use 1 .. {logits.shape[1]}."
        )
    # Ordered by logits: small probabilities underflow and would be equal.
    _, classes = jax.lax.top_k(logits, k)
    chance = jax.nn.softmax(widen(logits), axis=-1)
    return classes, jnp.take_along_axis(chance, classes, axis=-1)
