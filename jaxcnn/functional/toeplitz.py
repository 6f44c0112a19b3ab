"""Convolution as a matrix: sparse, banded, with shared entries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis, resolve_padding
from jaxcnn.typing import Array, describe


def toeplitz(
    kernel: Array,
    size: Size,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    rounding: Rounding = "exact",
) -> Array:
    """The matrix that convolves: `flatten(conv(x, kernel)) == flatten(x) @ toeplitz.T`.

    `M[(i, o), (j, c)] = sum_f kernel[f, c, o] [j = S i + D f - P]`

    With one channel a 1-D kernel gives a banded Toeplitz matrix, a 2-D one a block Toeplitz
    matrix of such. It has as many entries as a dense layer; all but a band are zero
    (sparse, local connections) and those on a diagonal are equal (shared weights).

    Args:
      kernel: [*window, C_in, C_out], with one or two window axes.
      size: spatial size of the input.
      stride, padding, dilation, rounding: as in `conv`; padding is with zeros.

    Returns:
      [cells out * C_out, cells in * C_in], channels fastest on both sides.

    Raises:
      ShapeError: the kernel has not one or two window axes, or does not fit.

    Deck B's width-3 filter on n = 5 cells: n^2 = 25 weights if dense, 3n - 2 = 13 if local,
    3 if shared.

    >>> matrix = toeplitz(jnp.asarray([7.0, 8, 9])[:, None, None], 5, padding=1)
    >>> print(matrix)
    [[8. 9. 0. 0. 0.]
     [7. 8. 9. 0. 0.]
     [0. 7. 8. 9. 0.]
     [0. 0. 7. 8. 9.]
     [0. 0. 0. 7. 8.]]
    >>> matrix.size, int((matrix != 0).sum()), len(set(matrix[matrix != 0].tolist()))
    (25, 13, 3)

    Source: deck B, "neural network architecture".
    """
    rank = kernel.ndim - 2
    if rank not in (1, 2):
        raise ShapeError(
            f"got kernel {describe(kernel)}, expected [l, C_in, C_out] or [h, w, C_in, C_out]."
        )
    sizes = per_axis(size, rank, "size")
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    window = kernel.shape[:-2]
    pads = resolve_padding(sizes, window, strides, dilations, padding, rounding=rounding)
    hits = [
        _hits(*along).astype(kernel.dtype)
        for along in zip(sizes, window, strides, dilations, pads, strict=True)
    ]
    if rank == 1:
        matrix = jnp.einsum("ijf,fco->iojc", *hits, kernel)
    else:
        matrix = jnp.einsum("ijf,klg,fgco->ikojlc", *hits, kernel)
    return matrix.reshape(-1, math.prod(sizes) * kernel.shape[-2])


def _hits(size: int, window: int, stride: int, dilation: int, pads: Sequence[int]) -> Array:
    """[out, in, tap]: whether the tap of the output cell lies on the input cell."""
    low, high = pads
    out = (size + low + high - dilation * (window - 1) - 1) // stride + 1
    place = (
        stride * jnp.arange(out)[:, None, None] + dilation * jnp.arange(window)[None, None, :] - low
    )
    return place == jnp.arange(size)[None, :, None]
