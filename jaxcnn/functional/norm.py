"""Statistics and normalization.

Numerical decisions, all from cases where libraries go wrong:

- Statistics are computed and kept in float32 or wider, whatever the dtype of the input.
- The variance takes two passes, `mean((x - mean)^2)`. The one-pass `mean(x^2) - mean^2`
  loses all digits where the mean is large and can become negative.
- It is the biased variance (divided by n) throughout, also in running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, describe


def moments(
    x: Array,
    axes: Sequence[int],
    *,
    mask: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Mean and biased variance over `axes`, in float32 or wider.

    Args:
      x: [N, ...].
      axes: the axes to reduce.
      mask: [N] bool; rows where it is False do not count. Needs 0 among `axes`.
      axis_name: mapped axis over whose devices the statistics are shared, or None.

    Returns:
      `(mean, variance)`, each of the shape of `x` without `axes`.

    Raises:
      ShapeError: `mask` does not match the batch.

    >>> mean, var = moments(jnp.asarray([[1.0], [3.0], [99.0]]), (0,),
    ...                     mask=jnp.asarray([True, True, False]))
    >>> mean.item(), var.item()
    (2.0, 1.0)
    """
    wide = widen(x)
    cells = math.prod(x.shape[axis] for axis in axes)
    if mask is None:
        weights = None
        count = jnp.asarray(cells, wide.dtype)
    else:
        if mask.shape != x.shape[:1] or 0 not in axes:
            raise ShapeError(
                f"mask {describe(mask)} does not fit the batch {describe(x)}: expected "
                f"[{x.shape[0]}] and statistics over the batch axis."
            )
        weights = mask.astype(wide.dtype).reshape((-1,) + (1,) * (x.ndim - 1))
        count = jnp.sum(weights) * (cells // x.shape[0])
    if axis_name is not None:
        count = lax.psum(count, axis_name)
    count = jnp.maximum(count, 1)

    def mean_of(values: Array) -> Array:
        if weights is not None:
            values = values * weights
        total = jnp.sum(values, axis=tuple(axes))
        return (total if axis_name is None else lax.psum(total, axis_name)) / count

    mean = mean_of(wide)
    variance = mean_of(jnp.square(wide - jnp.expand_dims(mean, tuple(axes))))
    return mean, variance


def normalize(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> Array:
    """`scale (x - mean) / sqrt(variance + epsilon) + bias` for each channel.

    Args:
      x: [..., C].
      mean: [C].
      variance: [C], biased.
      scale: [C], or None for 1.
      bias: [C], or None for 0.
      epsilon: added to the variance, inside the root.

    Returns:
      Like `x`; computed in the dtype of the statistics, returned in that of `x`.
    """

    def spread(a: Array) -> Array:
        return a.reshape((1,) * (x.ndim - 1) + (-1,)).astype(mean.dtype)

    factor = lax.rsqrt(variance + jnp.asarray(epsilon, variance.dtype))
    if scale is not None:
        factor = factor * scale.astype(factor.dtype)
    y = (x.astype(mean.dtype) - spread(mean)) * spread(factor)
    return (y if bias is None else y + spread(bias)).astype(x.dtype)
