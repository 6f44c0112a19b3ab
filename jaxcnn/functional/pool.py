"""Pooling over windows. Images [N, *space, C]; every channel on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxcnn.functional import check
from jaxcnn.functional.precision import widen
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis, resolve_padding
from jaxcnn.typing import Array


def max_pool(
    x: Array,
    window: Size = 2,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    rounding: Rounding = "exact",
) -> Array:
    """The largest value of each window.

    Args:
      x: [N, *space, C], floating.
      window: cells of a window along each axis.
      stride: cells between neighbouring windows; None means `window` (no overlap).
      padding: "VALID", "SAME", P, or (low, high) for each axis; filled with minus infinity.
      rounding: "exact" refuses a stride that leaves a rest, "floor" leaves the rest out.

    Returns:
      [N, *space', C]. The gradient goes to the first maximum of a window.

    Raises:
      ShapeError: rank or dtype does not fit, or the window or stride does not.

    >>> x = jnp.asarray([[1., 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])
    >>> print(max_pool(x[None, :, :, None])[0, :, :, 0])
    [[6. 8.]
     [3. 4.]]

    Source: deck A, "max pooling".
    """
    windows, strides, pads = _geometry(x, window, stride, padding, rounding)
    return lax.reduce_window(x, -jnp.inf, lax.max, windows, strides, pads)


def sum_pool(
    x: Array,
    window: Size = 2,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    rounding: Rounding = "exact",
) -> Array:
    """The sum of each window, [N, *space', C]; arguments and errors as `max_pool`.

    Padding is filled with zeros. Sums below float32 are accumulated in float32.

    Source: deck D, "pooling layers".
    """
    windows, strides, pads = _geometry(x, window, stride, padding, rounding)
    return lax.reduce_window(widen(x), 0.0, lax.add, windows, strides, pads).astype(x.dtype)


def avg_pool(
    x: Array,
    window: Size = 2,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    rounding: Rounding = "exact",
) -> Array:
    """The mean of each window, [N, *space', C]; arguments and errors as `max_pool`.

    Padded cells count as zeros in the mean, as in Flax and PyTorch by default.

    >>> x = jnp.asarray([[12., 20, 30, 0], [8, 12, 2, 0], [34, 70, 37, 4], [112, 100, 25, 12]])
    >>> print(avg_pool(x[None, :, :, None])[0, :, :, 0])
    [[13.   8. ]
     [79.  19.5]]

    Source: deck D, "pooling layers" (which rounds 19.5 to 20).
    """
    rank = check.images(x)
    cells = math.prod(per_axis(window, rank, "window"))
    return sum_pool(x, window, stride=stride, padding=padding, rounding=rounding) / cells


def _geometry(
    x: Array, window: Size, stride: Size | None, padding: Padding, rounding: Rounding
) -> tuple[tuple[int, ...], tuple[int, ...], Sequence[tuple[int, int]]]:
    """Window, strides and padding over all axes of `x`, batch and channels included."""
    rank = check.images(x)
    windows = per_axis(window, rank, "window")
    strides = windows if stride is None else per_axis(stride, rank, "stride")
    pads = resolve_padding(x.shape[1:-1], windows, strides, (1,) * rank, padding, rounding=rounding)
    return (1, *windows, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
