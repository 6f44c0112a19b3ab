"""Convolution. Images [N, *space, C], kernels [*window, C_in / groups, C_out]."""

from __future__ import annotations

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.lowering import (
    canonical,
    choice,
    depthwise,
    gemm,
    pointwise,
    reference,
    winograd,
)
from jaxcnn.functional.lowering.choice import ConvImpl
from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.functional.padding import PaddingMode, pad
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis, resolve_padding
from jaxcnn.typing import Array, describe


def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
    impl: ConvImpl = "auto",
) -> Array:
    """Convolution over 1, 2 or 3 spatial axes, as many as `x` has.

    `y[n, i, o] = bias[o] + sum_{f, c} kernel[f, c, o] * x[n, S i + D f - P, c]`

    This is what the field calls convolution: a cross-correlation, the kernel is not
    flipped. `F.cross_correlation` is the same function under that name, `F.true_conv` the
    convolution of mathematics.

    Args:
      x: [N, *space, C_in], floating.
      kernel: [*window, C_in / groups, C_out].
      bias: [C_out], or None.
      stride: S, cells between neighbouring windows.
      padding: "VALID", "SAME", P, or (low, high) for each axis.
      padding_mode: what fills the padding: "zeros", "reflect" or "edge"; see `pad`.
      dilation: D, cells between neighbouring taps of the kernel.
      groups: channels are split into as many groups that do not see each other;
        `groups=C_in` is depthwise.
      rounding: "exact" refuses a stride that leaves a rest, "floor" leaves the rest out.
      impl: how it is computed, for research and tests: "auto" chooses by platform and shape;
        see `functional.lowering`. The function is the same to rounding.

    Returns:
      [N, *space', C_out], in the dtype of `x`.

    Raises:
      ShapeError: rank, dtype or channels do not fit, or the window, stride or padding does
        not.
      ConfigError: a setting is out of range.

    >>> import jax.numpy as jnp
    >>> image = jnp.asarray([[1., 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1],
    ...                      [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
    >>> kernel = jnp.asarray([[1., 0, 1], [0, 1, 0], [1, 0, 1]])
    >>> print(conv(image[None, :, :, None], kernel[:, :, None, None])[0, :, :, 0])
    [[4. 3. 4.]
     [2. 4. 3.]
     [2. 3. 4.]]

    Source: deck A, "convolution layer".
    """
    geometry, x = prepare(
        x, kernel, bias, stride, padding, padding_mode, dilation, groups, rounding
    )
    name = choice.conv_lowering(impl, x, kernel, geometry)
    choice.note("conv", name)
    return _LOWERINGS[name](x, kernel, bias, geometry)


_LOWERINGS = {
    "xla": reference.conv,
    "canonical": canonical.conv,
    "gemm": gemm.conv,
    "winograd": winograd.conv,
    "pointwise": pointwise.conv,
    "depthwise": depthwise.conv,
}


def prepare(
    x: Array,
    kernel: Array,
    bias: Array | None,
    stride: Size,
    padding: Padding,
    padding_mode: PaddingMode,
    dilation: Size,
    groups: int,
    rounding: Rounding,
) -> tuple[Geometry, Array]:
    """Checks the arguments of `conv`; what is left to compute, and on what.

    Padding other than zeros is put around `x` here: no lowering has to know it.
    """
    rank = check.images(x)
    if rank not in reference.LAYOUTS:
        raise ShapeError(f"got {describe(x)}: 1, 2 or 3 spatial axes are supported, not {rank}.")
    _check_kernel(x, kernel, bias, groups, rank)
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    pads = resolve_padding(
        x.shape[1:-1], kernel.shape[:-2], strides, dilations, padding, rounding=rounding
    )
    if padding_mode != "zeros":
        x = pad(x, pads, mode=padding_mode)
        pads = ((0, 0),) * rank
    return Geometry(strides, pads, dilations, groups), x


def conv1d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
    impl: ConvImpl = "auto",
) -> Array:
    """Convolution of sequences [N, L, C_in] with kernels [l, C_in / groups, C_out].

    `conv`, with the rank checked. See there.

    >>> x, theta = jnp.asarray([1., 1, 1, 0, 0]), jnp.asarray([1., 0, 1])
    >>> print(conv1d(x[None, :, None], theta[:, None, None])[0, :, 0])
    [2. 1. 1.]

    Source: deck B, "1d convolution".
    """
    check.images(x, spatial=1)
    return conv(
        x,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        rounding=rounding,
        impl=impl,
    )


def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
    impl: ConvImpl = "auto",
) -> Array:
    """Convolution of images [N, H, W, C_in] with kernels [h, w, C_in / groups, C_out].

    `conv`, with the rank checked. See there.
    """
    check.images(x, spatial=2)
    return conv(
        x,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        rounding=rounding,
        impl=impl,
    )


def conv3d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
    impl: ConvImpl = "auto",
) -> Array:
    """Convolution of volumes [N, D, H, W, C_in] with kernels [d, h, w, C_in / groups, C_out].

    `conv`, with the rank checked. See there.
    """
    check.images(x, spatial=3)
    return conv(
        x,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        rounding=rounding,
        impl=impl,
    )


cross_correlation = conv
"""`conv` by its mathematical name: the kernel slides over the input as it is."""


def true_conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    padding_mode: PaddingMode = "zeros",
    dilation: Size = 1,
    groups: int = 1,
    rounding: Rounding = "exact",
    impl: ConvImpl = "auto",
) -> Array:
    """Convolution as in mathematics: `conv` with the kernel flipped along every window axis.

    `y[i] = sum_f kernel[f] x[i - f]`, up to where the counting of `i` starts. It commutes and
    associates, which cross-correlation does not. A network that learns its kernels learns
    them flipped and does not care; hand-made kernels do. Arguments and errors as `conv`.

    >>> x, theta = jnp.asarray([1., 0, 0, 2, 0]), jnp.asarray([1., 2, 3])
    >>> print(true_conv(x[None, :, None], theta[:, None, None])[0, :, 0])
    [3. 2. 4.]
    >>> print(cross_correlation(x[None, :, None], theta[:, None, None])[0, :, 0])
    [1. 6. 4.]

    Source: deck D, "layer operations". SciPy calls the two `convolve` and `correlate`.
    """
    check.images(x)
    return conv(
        x,
        jnp.flip(kernel, tuple(range(kernel.ndim - 2))),
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        rounding=rounding,
        impl=impl,
    )


def _check_kernel(x: Array, kernel: Array, bias: Array | None, groups: int, rank: int) -> None:
    if kernel.ndim != rank + 2:
        raise ShapeError(
            f"kernel is {describe(kernel)} for an input {describe(x)}: "
            f"expected {rank} window axes, then C_in / groups, then C_out."
        )
    channels, features = x.shape[-1], kernel.shape[-1]
    if groups < 1 or channels % groups or features % groups:
        raise ConfigError(
            f"groups={groups} is not allowed: it must divide both the {channels} input channels "
            f"and the {features} output channels."
        )
    if kernel.shape[-2] != channels // groups:
        raise ShapeError(
            f"kernel {describe(kernel)} expects {kernel.shape[-2] * groups} input channels "
            f"(with groups={groups}), but the input {describe(x)} has {channels}."
        )
    if bias is not None and bias.shape != (features,):
        raise ShapeError(f"bias is {describe(bias)}, expected [{features}], one for each output.")
