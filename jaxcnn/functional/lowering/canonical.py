"""XLA's convolution, with both gradients written as forward convolutions in the same layout.

JAX's own gradients are convolutions with permuted dimensions. On CPU only the layout
[N, *space, C] with kernels [*window, I, O] reaches the library kernels; XLA rearranges the
gradients into it at the top level of a program, but not in the body of a loop. There they
run as naive loops: a scanned training step of deck D's CIFAR-10 net takes 33 times as long.
The barriers keep the transpositions from being folded back into the convolution.

Gradients equal JAX's own to rounding. On ResNet-20 the step took 441 ms in a loop of four and 547
by itself (the difference is fresh memory), where JAX's own took 771 by itself; half of that gain
is `solid`, which keeps residual sums from being computed again for each transposition.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import optimization_barrier as barrier

from jaxcnn.functional.lowering import reference
from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.functional.lowering.solid import solid
from jaxcnn.functional.lowering.vary import alike
from jaxcnn.typing import Array


def conv(x: Array, kernel: Array, bias: Array | None, geometry: Geometry) -> Array:
    """See the module; arguments as `reference.conv`."""
    return reference.add_bias(_conv(*alike(x, kernel), geometry), bias)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return reference.conv(x, kernel, None, geometry)


def _forward(x: Array, kernel: Array, geometry: Geometry) -> tuple[Array, tuple[Array, Array]]:
    x = solid(x, kernel)
    return reference.conv(x, kernel, None, geometry), (x, kernel)


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
    space = range(len(shape) - 2)
    pads = []
    for i in space:
        extent = geometry.dilations[i] * (kernel.shape[i] - 1)
        low = extent - geometry.pads[i][0]
        spread = (g.shape[1 + i] - 1) * geometry.strides[i]
        pads.append((low, shape[1 + i] + extent - 1 - spread - low))
    flipped = jnp.flip(kernel, tuple(space))
    if geometry.groups > 1:  # [*w, I/G, (G O/G)] to [*w, O/G, (G I/G)]
        *window, inner, outer = kernel.shape
        split = flipped.reshape(*window, inner, geometry.groups, outer // geometry.groups)
        swapped = jnp.moveaxis(split, -1, -3).swapaxes(-1, -2)
        turned = swapped.reshape(*window, outer // geometry.groups, geometry.groups * inner)
    else:
        turned = jnp.swapaxes(flipped, -1, -2)
    return lax.conv_general_dilated(
        g,
        barrier(turned),
        window_strides=(1,) * len(pads),
        padding=pads,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.dilations,
        dimension_numbers=reference.LAYOUTS[len(pads)],
        feature_group_count=geometry.groups,
    )


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
    if shape[rank - 1] > 1 and not any(map(any, pads)):
        # Without padding XLA takes another way, which for windows as large as these is two to
        # nine times slower. One column more, of zeros and cut off below, costs a fraction.
        pads[-1] = (0, 1)
    # Channels of a group become examples; examples, by group, become channels.
    n, groups = x.shape[0], geometry.groups
    split = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    examples = jnp.transpose(split, (rank + 2, *space, rank + 1, 0))
    examples = examples.reshape(x.shape[-1] // groups, *x.shape[1:-1], groups * n)
    dw = lax.conv_general_dilated(
        barrier(examples),
        barrier(jnp.transpose(g, (*space, 0, rank + 1))),
        window_strides=geometry.dilations,
        padding=pads,
        rhs_dilation=geometry.strides,
        dimension_numbers=reference.LAYOUTS[rank],
        feature_group_count=groups,
    )
    dw = lax.slice_in_dim(dw, 0, shape[rank - 1], axis=rank)
    return jnp.transpose(dw, (*space, 0, rank + 1))
