"""XLA's own convolution and window reduction, with JAX's own gradients.

On GPU and TPU these are the libraries' kernels, and nothing here beats them. They are also
what the other lowerings are held against, and what the ledger counts.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.typing import Array

LAYOUTS = {
    1: ("NWC", "WIO", "NWC"),
    2: ("NHWC", "HWIO", "NHWC"),
    3: ("NDHWC", "DHWIO", "NDHWC"),
}


def conv(x: Array, kernel: Array, bias: Array | None, geometry: Geometry) -> Array:
    """`conv_general_dilated`, and the bias added."""
    y = lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.strides,
        padding=geometry.pads,
        rhs_dilation=geometry.dilations,
        dimension_numbers=LAYOUTS[x.ndim - 2],
        feature_group_count=geometry.groups,
    )
    return add_bias(y, bias)


def add_bias(y: Array, bias: Array | None) -> Array:
    """`y` [..., C] plus `bias` [C], if there is one."""
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def max_pool(
    x: Array, windows: tuple[int, ...], strides: tuple[int, ...], pads: tuple[tuple[int, int], ...]
) -> Array:
    """`reduce_window`; all three over the spatial axes of `x` [N, *space, C]."""
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        (1, *windows, 1),
        (1, *strides, 1),
        ((0, 0), *pads, (0, 0)),
    )
