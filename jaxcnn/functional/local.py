"""Locally connected maps: windows as in convolution, weights not shared."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.padding import pad
from jaxcnn.functional.precision import wide
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis, resolve_padding
from jaxcnn.typing import Array, describe


def patches(
    x: Array,
    window: Size,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    rounding: Rounding = "exact",
) -> Array:
    """What each window sees: `y[n, i, c, f] = x[n, S i + D f - P, c]`.

    Args:
      x: [N, *space, C], floating.
      window, stride, padding, dilation, rounding: as in `conv`.

    Returns:
      [N, *space', C, *window].

    Raises:
      ShapeError: rank or dtype does not fit, or the window or stride does not.

    >>> patches(jnp.arange(4.0)[None, :, None], 2)[0, :, 0].tolist()
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    rank = check.images(x)
    windows = per_axis(window, rank, "window")
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    x = pad(
        x,
        resolve_padding(x.shape[1:-1], windows, strides, dilations, padding, rounding=rounding),
    )
    for axis, (taps, step, gap) in enumerate(zip(windows, strides, dilations, strict=True), 1):
        last = x.shape[axis] - gap * (taps - 1)  # one behind the last place of a first tap
        x = jnp.stack(
            [lax.slice_in_dim(x, gap * f, gap * f + last, step, axis) for f in range(taps)], axis=-1
        )
    return x


def locally_connected(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    window: Size,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    rounding: Rounding = "exact",
) -> Array:
    """Convolution whose kernel and bias are its own at every place.

    `y[n, i, o] = bias[i, o] + sum_{c, f} kernel[i, (c, f), o] x[n, S i + D f - P, c]`

    Args:
      x: [N, *space, C_in], floating.
      kernel: [*space', C_in * cells of the window, C_out], the window's cells fastest.
      bias: [*space', C_out], or None.
      window: cells of a window along each axis, which the kernel's shape does not tell.
      stride, padding, dilation, rounding: as in `conv`.

    Returns:
      [N, *space', C_out], in the dtype of `x`.

    Raises:
      ShapeError: rank, dtype or kernel does not fit, or the window or stride does not.

    >>> x = jnp.asarray([1.0, 2.0, 3.0])[None, :, None]
    >>> kernel = jnp.asarray([[[1.0], [0.0]], [[10.0], [10.0]]])  # two places, width 2
    >>> print(locally_connected(x, kernel, window=2)[0, :, 0])
    [ 1. 50.]

    Source: decks B and C, "locally connected". Layout of `flax.linen.ConvLocal`.
    """
    seen = patches(x, window, stride=stride, padding=padding, dilation=dilation, rounding=rounding)
    rank = x.ndim - 2
    places = seen.shape[1 : 1 + rank]
    inputs = math.prod(seen.shape[1 + rank :])
    if kernel.ndim != rank + 2 or kernel.shape[:-1] != (*places, inputs):
        raise ShapeError(
            f"kernel is {describe(kernel)} for an input {describe(x)}: expected "
            f"{[*places, inputs]}, a row for each place and for each channel of each cell that "
            "its window sees, then C_out."
        )
    if bias is not None and bias.shape != (*places, kernel.shape[-1]):
        raise ShapeError(
            f"bias is {describe(bias)}, expected {[*places, kernel.shape[-1]]}, one for each place "
            "and output."
        )
    y = jnp.einsum(
        "npi,pio->npo",
        seen.reshape(x.shape[0], -1, inputs),
        kernel.reshape(-1, *kernel.shape[-2:]),
        preferred_element_type=wide(x.dtype),
    )
    y = y.reshape(x.shape[0], *places, -1).astype(x.dtype)
    return y if bias is None else y + bias[None]
