"""XLA's convolution, with both gradients written as forward convolutions in the same layout.

JAX's own gradients are convolutions with permuted dimensions. On CPU only the layout
[N, *space, C] with kernels [*window, I, O] reaches the library kernels; XLA rearranges the
gradients into it at the top level of a program, but not in the body of a loop. There they
run as naive loops: a scanned training step of deck D's CIFAR-10 net takes 33 times as long.
The barriers keep the transpositions from being folded back into the convolution.

Without any padding XLA takes another way, which is two to nine times slower where a window has
many cells, as in the gradient of a kernel; one more column of zeros avoids it (`_convolve`).

Gradients equal JAX's own to rounding. On ResNet-20 the step took 441 ms in a loop of four and 547
by itself (the difference is fresh memory), where JAX's own took 771 by itself; half of that gain
is `solid`, which keeps residual sums from being computed again for each transposition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import optimization_barrier as barrier

from jaxcnn.functional.lowering import reference
from jaxcnn.functional.lowering.geometry import Geometry, Pairs
from jaxcnn.functional.lowering.solid import solid
from jaxcnn.functional.lowering.vary import alike
from jaxcnn.typing import Array


def conv(x: Array, kernel: Array, bias: Array | None, geometry: Geometry) -> Array:
    """See the module; arguments as `reference.conv`."""
    return reference.add_bias(_conv(*alike(x, kernel), geometry), bias)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return _plain(x, kernel, geometry)


def _plain(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return _convolve(
        x,
        kernel,
        geometry.pads,
        strides=geometry.strides,
        dilations=geometry.dilations,
        groups=geometry.groups,
    )


def _forward(x: Array, kernel: Array, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    x = solid(x, kernel)
    # Not `_conv`: forward mode over a gradient differentiates this function as it stands.
    return _plain(x, kernel, geometry), (x, kernel)


def _backward(geometry: Geometry, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    g = solid(g, kernel)
    return (
        input_gradient(x.shape, kernel, g, geometry),
        kernel_gradient(x, kernel.shape, g, geometry),
    )


_conv.defvjp(_forward, _backward)


def input_gradient(shape: tuple[int, ...], kernel: Array, g: Array, geometry: Geometry) -> Array:
    """Gradient of the input: `g`, dilated by the stride, against the flipped kernel."""
    space = tuple(range(len(shape) - 2))
    pads = input_pads(shape, kernel.shape[:-2], g.shape, geometry)
    flipped = jnp.flip(kernel, space)
    if geometry.groups > 1:  # [*w, I/G, (G O/G)] to [*w, O/G, (G I/G)]
        *window, inner, outer = kernel.shape
        split = flipped.reshape(*window, inner, geometry.groups, outer // geometry.groups)
        swapped = jnp.moveaxis(split, -1, -3).swapaxes(-1, -2)
        turned = swapped.reshape(*window, outer // geometry.groups, geometry.groups * inner)
    else:
        turned = jnp.swapaxes(flipped, -1, -2)
    return _convolve(
        g,
        barrier(turned),
        pads,
        spread=geometry.strides,
        dilations=geometry.dilations,
        groups=geometry.groups,
    )


def input_pads(
    shape: tuple[int, ...], window: tuple[int, ...], g_shape: tuple[int, ...], geometry: Geometry
) -> Pairs:
    """Padding of `g`, dilated by the strides, that makes its convolution as large as the input."""
    pads = []
    for i, taps in enumerate(window):
        extent = geometry.dilations[i] * (taps - 1)
        low = extent - geometry.pads[i][0]
        spread = (g_shape[1 + i] - 1) * geometry.strides[i]
        pads.append((low, shape[1 + i] + extent - 1 - spread - low))
    return tuple(pads)


def kernel_gradient(x: Array, shape: tuple[int, ...], g: Array, geometry: Geometry) -> Array:
    """Gradient of the kernel: the input's channels as examples, `g` as the kernel."""
    rank = x.ndim - 2
    space = tuple(range(1, 1 + rank))
    pads = []
    for i in range(rank):
        low = geometry.pads[i][0]
        spread = (g.shape[1 + i] - 1) * geometry.strides[i]
        extent = geometry.dilations[i] * (shape[i] - 1)
        pads.append((low, spread + extent - low + 1 - x.shape[1 + i]))
    # Channels of a group become examples; examples, by group, become channels.
    n, groups = x.shape[0], geometry.groups
    split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    examples = jnp.transpose(split, (rank + 2, *space, rank + 1, 0))
    examples = examples.reshape(x.shape[-1] // groups, *x.shape[1:-1], groups * n)
    dw = _convolve(
        barrier(examples),
        barrier(jnp.transpose(g, (*space, 0, rank + 1))),
        pads,
        strides=geometry.dilations,
        dilations=geometry.strides,
        groups=groups,
    )
    return jnp.transpose(dw, (*space, 0, rank + 1))


_MANY = 256  # cells of a window, channels included, from which padding pays


def _convolve(
    x: Array,
    kernel: Array,
    pads: Sequence[tuple[int, int]],
    *,
    strides: tuple[int, ...] | None = None,
    spread: tuple[int, ...] | None = None,
    dilations: tuple[int, ...],
    groups: int,
) -> Array:
    """XLA's convolution; `spread` is the dilation of the input. See the module for the column."""
    rank = x.ndim - 2
    ones = (1,) * rank
    strides, spread = strides or ones, spread or ones
    last = (x.shape[-2] - 1) * spread[-1] - (kernel.shape[-3] - 1) * dilations[-1]
    widen = (
        groups == 1
        and math.prod(kernel.shape[:-1]) >= _MANY
        and not any(map(any, pads))
        and last >= strides[-1]  # two columns or more, so that one more is half at most
    )
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=[*pads[:-1], (0, strides[-1])] if widen else pads,
        lhs_dilation=spread,
        rhs_dilation=dilations,
        dimension_numbers=reference.LAYOUTS[rank],
        feature_group_count=groups,
    )
    return y[..., :-1, :] if widen else y
