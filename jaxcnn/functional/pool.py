"""Pooling: over windows and all of space, every channel on its own; and over channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.lowering import choice, mask, reference
from jaxcnn.functional.lowering.choice import PoolImpl
from jaxcnn.functional.precision import widen
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis, resolve_padding
from jaxcnn.typing import Array, describe


def max_pool(
    x: Array,
    window: Size = 2,
    *,
    stride: Size | None = None,
    padding: Padding = "VALID",
    rounding: Rounding = "exact",
    impl: PoolImpl = "auto",
) -> Array:
    """The largest value of each window.

    Args:
      x: [N, *space, C], floating.
      window: cells of a window along each axis.
      stride: cells between neighbouring windows; None means `window` (no overlap).
      padding: "VALID", "SAME", P, or (low, high) for each axis; filled with minus infinity.
      rounding: "exact" refuses a stride that leaves a rest, "floor" leaves the rest out.
      impl: how it is computed, for research and tests; see `functional.lowering`.

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
    inner = windows[1:-1], strides[1:-1], tuple(pads[1:-1])
    name = choice.pool_lowering(impl, inner[0])
    choice.note("max_pool", name)
    pool = mask.max_pool if name == "mask" else reference.max_pool
    return pool(x, *inner)


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


def global_avg_pool(x: Array) -> Array:
    """The mean of each channel over all of space, [N, *space, C] to [N, C].

    Sums below float32 are accumulated in float32.

    Raises:
      ShapeError: rank or dtype does not fit.

    >>> print(global_avg_pool(jnp.arange(8.0).reshape(1, 2, 2, 2)))
    [[3. 4.]]

    Source: Lin, Chen and Yan 2013, which put it in place of the dense layers.
    """
    rank = check.images(x)
    return jnp.mean(widen(x), axis=tuple(range(1, 1 + rank))).astype(x.dtype)


def global_max_pool(x: Array) -> Array:
    """The largest value of each channel over all of space, [N, *space, C] to [N, C].

    Where several cells are largest they share the gradient evenly.

    Raises:
      ShapeError: rank or dtype does not fit.

    >>> print(global_max_pool(jnp.arange(8.0).reshape(1, 2, 2, 2)))
    [[6. 7.]]
    """
    rank = check.images(x)
    return jnp.max(x, axis=tuple(range(1, 1 + rank)))


def channel_pool(x: Array, window: int = 2) -> Array:
    """The largest value of each group of `window` neighbouring channels.

    `y[..., c] = max(x[..., W c], ..., x[..., W c + W - 1])`

    Pooling over space makes a unit insensitive to shifts; pooling over channels, whose
    kernels are learned, to whatever those kernels differ by.

    Args:
      x: [..., C], floating.
      window: W, channels of a group.

    Returns:
      [..., C / W]. Where several channels are largest they share the gradient evenly.

    Raises:
      ConfigError: `window` is not a positive int.
      ShapeError: it does not divide the channels, or `x` is not floating.

    >>> print(channel_pool(jnp.asarray([[1.0, 5.0, 3.0, 2.0]])))
    [[5. 3.]]

    Source: deck D, "cross-channel pooling"; Goodfellow et al. 2013.
    """
    check.floating(x)
    check.positive(window, "window")
    if x.ndim < 1 or x.shape[-1] % window:
        raise ShapeError(
            f"got {describe(x)}: groups of {window} channels do not divide the channels evenly.\n"
            "Change `window`, or give the layer before a multiple of it."
        )
    return jnp.max(x.reshape(*x.shape[:-1], -1, window), axis=-1)
