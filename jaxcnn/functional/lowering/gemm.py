"""Convolution as patches in rows and one matrix product, for small images and few channels.

XLA's CPU convolution sustains some 100 GF/s at any width, a large matrix product twice that;
where a window has few cells (`C kh kw` up to about 256) the patches cost less than the
difference. XLA gives a product to its fast library only with a row-major left side, so every
product here is written [m, k] [k, n] or [m, k] [n, k]^T, the larger side on the left.

The bias is added inside, where channels are rows: outside it would cost a transposition.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import optimization_barrier as barrier

from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.functional.lowering.patches import columns, examples_last, sum_columns, zero_pad
from jaxcnn.functional.lowering.solid import turned
from jaxcnn.functional.lowering.vary import alike
from jaxcnn.functional.precision import wide
from jaxcnn.typing import Array


def conv(
    x: Array, kernel: Array, bias: Array | None, geometry: Geometry, *, alone: bool = True
) -> Array:
    """See the module; dilation and groups 1, two spatial axes.

    `alone`: whether other layouts surround it, so that what it transposes must be kept from
    being computed twice. Between operations of the same layout that would cost time.
    """
    if bias is None:
        bias = jnp.zeros(kernel.shape[-1:], x.dtype)
    return _conv(*alike(x, kernel, bias), geometry, alone)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _conv(x: Array, kernel: Array, bias: Array, geometry: Geometry, alone: bool) -> Array:
    return _forward(x, kernel, bias, geometry, alone)[0]


def _forward(
    x: Array, kernel: Array, bias: Array, geometry: Geometry, alone: bool
) -> tuple[Array, tuple[Array, ...]]:
    kh, kw, _, features = kernel.shape
    out = geometry.output(x.shape[1:3], kernel.shape[:2])
    x = _turn(x, kernel, alone)
    windows = columns(zero_pad(x, geometry.pads), (kh, kw), geometry.strides, out)
    matrix = barrier(windows.reshape(-1, out[0] * out[1] * x.shape[-1]))
    y = product(barrier(_rows(kernel)), matrix, x.dtype)
    y = y.reshape(features, *out, -1) + bias[:, None, None, None]
    return _turn(y, kernel, alone), (matrix, x, kernel, bias)


def _backward(
    geometry: Geometry, alone: bool, saved: tuple[Array, ...], g: Array
) -> tuple[Array, Array, Array]:
    matrix, x, kernel, bias = saved
    kh, kw, channels, features = kernel.shape
    g = _turn(g, kernel, alone)
    flat = barrier(g).reshape(features, -1)
    dw = product_t(matrix, flat).reshape(kh, channels, kw, features).transpose(0, 2, 1, 3)
    d = product(barrier(cells(kernel)), flat, wide(x.dtype))
    size = tuple(n + sum(p) for n, p in zip(x.shape[1:3], geometry.pads, strict=True))
    dx = sum_columns(d.reshape(kh, channels, kw, *g.shape[1:]), geometry.strides, size)
    (top, _), (left, _) = geometry.pads
    dx = dx[:, top : top + x.shape[1], left : left + x.shape[2]]
    db = jnp.sum(flat, axis=1, dtype=wide(flat.dtype)).astype(bias.dtype)
    return _turn(dx.astype(x.dtype), kernel, alone), dw.astype(kernel.dtype), db


_conv.defvjp(_forward, _backward)


def _turn(x: Array, kernel: Array, alone: bool) -> Array:
    return turned(x, kernel) if alone else examples_last(x)


def _rows(kernel: Array) -> Array:
    """[kh, kw, C, O] as a matrix [O, kh C kw], in the order of `columns`."""
    return kernel.transpose(3, 0, 2, 1).reshape(kernel.shape[-1], -1)


def cells(kernel: Array) -> Array:
    """The transpose of `_rows`, made by itself.

    XLA would fold a transposition into the product, whatever barriers are around it, and its fast
    library does not take bfloat16 with a left side that is stored transposed: the product would be
    made in float32, at half the speed.
    """
    return kernel.transpose(0, 2, 1, 3).reshape(-1, kernel.shape[-1])


def product(left: Array, right: Array, dtype: jnp.dtype) -> Array:
    """[m, k] [k, n], summed in float32 or wider."""
    return jnp.dot(left, right, preferred_element_type=wide(left.dtype)).astype(dtype)


def product_t(a: Array, b: Array) -> Array:
    """[m, k] [n, k]^T in float32 or wider, with the larger of m and n on the left."""
    contract = (((1,), (1,)), ((), ()))
    accumulate = wide(a.dtype)
    if a.shape[0] >= b.shape[0]:
        return lax.dot_general(a, b, contract, preferred_element_type=accumulate)
    return lax.dot_general(b, a, contract, preferred_element_type=accumulate).T
