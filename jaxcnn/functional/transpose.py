"""Transposed convolution: the adjoint of convolution."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.conv import conv
from jaxcnn.functional.precision import wide
from jaxcnn.functional.window import (
    Padding,
    Size,
    per_axis,
    resolve_padding,
    spread_padding,
)
from jaxcnn.typing import Array, describe


def conv_transpose(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "VALID",
    dilation: Size = 1,
    groups: int = 1,
    size: Size | None = None,
) -> Array:
    """Transposed convolution: the adjoint of `conv` with the same kernel and settings.

    `y[n, S i + D f - P, c] += kernel[f, c, o] x[n, i, o]`, added up over i, f and o: every
    input cell stamps the kernel onto the output. For all u and x,
    `sum(conv(u, kernel) * x) == sum(u * conv_transpose(x, kernel))`.

    Args:
      x: [N, *space, C_in], floating: like the output of that `conv`.
      kernel: [*window, C_out / groups, C_in], the very kernel of that `conv`.
      bias: [C_out], or None.
      stride: S, cells between the stamps of neighbouring input cells.
      padding: of that `conv`: so many cells are cut off from the output.
      dilation: D, cells between neighbouring taps of the kernel.
      groups: groups of channels that do not see each other.
      size: spatial size of the output. Several sizes convolve to the same one; None means
        `S I` for "SAME", else the one where the stride fits, `S (I - 1) + F - 2P`.

    Returns:
      [N, *size, C_out], in the dtype of `x`.

    Raises:
      ShapeError: rank, dtype, channels or `size` do not fit.
      ConfigError: a setting is out of range.

    Stride 1 is computed as a plain convolution of the padded input with the flipped kernel. A
    larger stride is computed as one matrix product and the sum of its shifted parts: a
    convolution of the dilated input would multiply by the zeros in between, S times as often
    along every axis.

    >>> x = jnp.asarray([1.0, 10.0])[None, :, None]
    >>> kernel = jnp.asarray([1.0, 2, 3])[:, None, None]
    >>> [conv_transpose(x, kernel, stride=s)[0, :, 0].tolist() for s in (1, 2)]
    [[1.0, 12.0, 23.0, 30.0], [1.0, 2.0, 13.0, 20.0, 30.0]]

    Source: deck E, "deconvolution"; Zeiler and Fergus 2014. PyTorch's
    `conv_transpose2d` is this one, with `output_padding` in place of `size`;
    `flax.linen.ConvTranspose` needs `transpose_kernel=True`, and `transpose_kernel=False`
    swaps the last two kernel axes and does not flip.
    """
    rank = check.images(x)
    _check_kernel(x, kernel, bias, groups, rank)
    window = kernel.shape[:-2]
    strides = per_axis(stride, rank, "stride")
    dilations = per_axis(dilation, rank, "dilation")
    extents = [d * (f - 1) + 1 for f, d in zip(window, dilations, strict=True)]
    sizes = _sizes(x, extents, strides, padding, size)
    pads = resolve_padding(sizes, window, strides, dilations, padding, rounding="floor")

    # The output of group g is fed by input group g, so the two channel axes swap in each.
    grouped = kernel.reshape(*window, kernel.shape[-2], groups, -1)
    if set(strides) == {1}:
        turned = jnp.flip(jnp.swapaxes(grouped, -1, -3), tuple(range(rank)))
        wide_pads = [
            (extent - 1 - low, out - here + low)
            for extent, (low, _), out, here in zip(extents, pads, sizes, x.shape[1:-1], strict=True)
        ]
        if all(min(sides) >= 0 for sides in wide_pads):
            turned = turned.reshape(*window, kernel.shape[-1] // groups, -1)
            return conv(
                x, turned, bias, padding=tuple(wide_pads), dilation=dilations, groups=groups
            )
    columns = jnp.einsum(  # [N, cells, taps, groups, C_out / groups]
        "nigo,fcgo->nifgc",
        x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups),
        grouped.reshape(-1, *grouped.shape[rank:]),
        preferred_element_type=wide(x.dtype),
    )
    y = columns.reshape(x.shape[0], *x.shape[1:-1], *window, -1)
    for axis in range(rank):  # [N, *done, *space, *window, C_out]: one axis after the other
        y = _overlap_add(
            y, 1 + axis, 1 + rank, strides[axis], dilations[axis], sizes[axis], pads[axis][0]
        )
    y = y.astype(x.dtype)
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def _overlap_add(
    y: Array, space: int, taps: int, stride: int, dilation: int, size: int, low: int
) -> Array:
    """Adds tap f of cell i into cell `stride i + dilation f - low`; removes the tap axis."""
    reach = (y.shape[space] - 1) * stride + 1
    parts = []
    for tap in range(y.shape[taps]):
        part = lax.index_in_dim(y, tap, taps, keepdims=False)
        start = dilation * tap - low
        config = [(0, 0, 0)] * part.ndim
        config[space] = (start, size - reach - start, stride - 1)
        parts.append(lax.pad(part, jnp.zeros((), y.dtype), config))
    return sum(parts[1:], parts[0])


def _sizes(
    x: Array,
    extents: list[int],
    strides: tuple[int, ...],
    padding: Padding,
    size: Size | None,
) -> tuple[int, ...]:
    """The spatial size of the output, checked to convolve to that of `x`."""
    space = x.shape[1:-1]
    if padding == "SAME":
        smallest = [(here - 1) * step + 1 for here, step in zip(space, strides, strict=True)]
        default = [here * step for here, step in zip(space, strides, strict=True)]
    else:
        pads = spread_padding(space, extents, strides, padding)
        smallest = default = [
            (here - 1) * step + extent - sum(sides)
            for here, step, extent, sides in zip(space, strides, extents, pads, strict=True)
        ]
    sizes = tuple(default) if size is None else per_axis(size, len(space), "size")
    for axis, (out, least, step) in enumerate(zip(sizes, smallest, strides, strict=True)):
        if out < 1 or not least <= out < least + step:
            raise ShapeError(
                f"got {describe(x)} and an output size of {out} on spatial axis {axis}: with this "
                f"window, stride and padding only {least} to {least + step - 1} (and at least 1) "
                f"convolve to {space[axis]}.\n"
                "Change `size`, or use less padding."
            )
    return sizes


def _check_kernel(x: Array, kernel: Array, bias: Array | None, groups: int, rank: int) -> None:
    if kernel.ndim != rank + 2 or kernel.shape[-1] != x.shape[-1]:
        raise ShapeError(
            f"kernel {describe(kernel)} does not fit the input {describe(x)}: expected {rank} "
            f"window axes, then C_out / groups, then C_in={x.shape[-1]}.\n"
            "It is the kernel of the convolution that is transposed: outputs come before inputs."
        )
    if groups < 1 or x.shape[-1] % groups:
        raise ConfigError(
            f"groups={groups} is not allowed: it must divide the {x.shape[-1]} input channels."
        )
    features = kernel.shape[-2] * groups
    if bias is not None and bias.shape != (features,):
        raise ShapeError(f"bias is {describe(bias)}, expected [{features}], one for each output.")
