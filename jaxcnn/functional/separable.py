"""Convolutions that split space from channels: pointwise, depthwise, separable."""

from __future__ import annotations

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.conv import conv
from jaxcnn.functional.padding import PaddingMode
from jaxcnn.functional.window import Padding, Rounding, Size
from jaxcnn.typing import Array, describe


def pointwise_conv(
    x: Array, kernel: Array, bias: Array | None = None, *, stride: Size = 1
) -> Array:
    """Convolution with a window of one cell: mixes channels, looks at no neighbours.

    `y[n, i, o] = bias[o] + sum_c kernel[c, o] x[n, S i, c]`

    Args:
      x: [N, *space, C_in], floating.
      kernel: [1, ..., 1, C_in, C_out], with a 1 for each spatial axis.
      bias: [C_out], or None.
      stride: S, cells between neighbouring outputs. A rest is left out, as it always is
        between strides.

    Raises:
      ShapeError: the window is not one cell, or the channels do not fit.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((1, 56, 56, 64))
    >>> pointwise_conv(x, jnp.ones((1, 1, 64, 32))).shape
    (1, 56, 56, 32)

    Source: deck E, "1x1 conv"; Lin, Chen and Yan 2013.
    """
    check.images(x)
    if any(size != 1 for size in kernel.shape[:-2]):
        raise ShapeError(
            f"kernel {describe(kernel)} is not pointwise: expected [1, ..., 1, C_in, C_out].\n"
            "Use `conv` for a window of more than one cell."
        )
    return conv(x, kernel, bias, stride=stride, rounding="floor")


def depthwise_conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    rounding: Rounding = "exact",
) -> Array:
    """Convolution of every channel on its own: looks at neighbours, mixes no channels.

    `y[n, i, M c + m] = bias[M c + m] + sum_f kernel[f, 0, M c + m] x[n, S i + D f - P, c]`

    Args:
      x: [N, *space, C], floating.
      kernel: [*window, 1, M C]; M, the multiplier, is the number of outputs of a channel.
      bias: [M C], or None.
      stride, padding, padding_mode, dilation, rounding: as in `conv`.

    Returns:
      [N, *space', M C], the M outputs of a channel side by side.

    Raises:
      ShapeError, ConfigError: as `conv`, with `groups=C`.

    >>> import jax.numpy as jnp
    >>> x = jnp.stack([jnp.arange(4.0), jnp.ones(4)], axis=-1)[None]
    >>> print(depthwise_conv(x, jnp.asarray([[[1.0, 10.0]], [[1.0, 10.0]]]))[0])
    [[ 1. 20.]
     [ 3. 20.]
     [ 5. 20.]]

    Source: deck C, "depthwise convolution"; Howard et al. 2017. TensorFlow's kernel is
    [*window, C, M]: reshape it to [*window, 1, C M].
    """
    check.images(x)
    return conv(
        x,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=x.shape[-1],
        rounding=rounding,
    )


def separable_conv(
    x: Array,
    depthwise: Array,
    pointwise: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    rounding: Rounding = "exact",
) -> Array:
    """A depthwise, then a pointwise convolution: a dense one whose kernel is a product.

    Its kernel would be `kernel[f, c, o] = sum_m depthwise[f, 0, M c + m] pointwise[M c + m, o]`.
    With M = 1 it takes `1 / C_out + 1 / F` times the multiply-adds of the dense one, where F
    is the number of cells of the window.

    Args:
      x: [N, *space, C_in], floating.
      depthwise: [*window, 1, M C_in].
      pointwise: [1, ..., 1, M C_in, C_out].
      bias: [C_out], or None.
      stride, padding, padding_mode, dilation, rounding: of the depthwise one, as in `conv`.

    Returns:
      [N, *space', C_out].

    Raises:
      ShapeError, ConfigError: as the two.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((1, 8, 8, 3))
    >>> separable_conv(x, jnp.ones((3, 3, 1, 3)), jnp.ones((1, 1, 3, 16))).shape
    (1, 6, 6, 16)

    Source: deck C, "depthwise convolution + pointwise convolution"; Howard et al. 2017.
    """
    inner = depthwise_conv(
        x,
        depthwise,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        rounding=rounding,
    )
    return pointwise_conv(inner, pointwise, bias)
