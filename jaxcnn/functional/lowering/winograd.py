"""3x3 convolution with stride 1 by Winograd's minimal filtering F(2x2, 3x3).

Four outputs of a 2x2 tile come from a 4x4 window of the input. Transformed by small constant
matrices, `Y = A^T [(G K G^T) * (B^T X B)] A` with `*` entry by entry, they take 16 products
instead of 36. Over all channels and tiles that is 16 matrix products [O, C] [C, tiles], each
near the machine's peak where C is large, and both gradients are of the same kind. The
transformations only add, so rounding stays that of a direct sum (1e-6 relative in float32).

It moves more memory than it saves for few channels and large images; `choice` knows.

Source: Lavin and Gray 2016, after Winograd 1980.
"""

from __future__ import annotations

from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import optimization_barrier as barrier

from jaxcnn.functional.lowering.gemm import product, product_t
from jaxcnn.functional.lowering.geometry import Geometry
from jaxcnn.functional.lowering.patches import overlap
from jaxcnn.functional.lowering.reference import add_bias
from jaxcnn.functional.lowering.solid import turned
from jaxcnn.functional.lowering.vary import alike
from jaxcnn.functional.precision import wide, widen
from jaxcnn.typing import Array

_B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)

Grid = list[list[Array]]
"""4x4 arrays, one for each place of a transformed tile."""


def conv(x: Array, kernel: Array, bias: Array | None, geometry: Geometry) -> Array:
    """See the module; 3x3 kernels, stride, dilation and groups 1."""
    return add_bias(_conv(*alike(x, kernel), geometry), bias)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, geometry: Geometry) -> Array:
    return _forward(x, kernel, geometry)[0]


def _forward(x: Array, kernel: Array, geometry: Geometry) -> tuple[Array, tuple[Grid, Array]]:
    height, width = geometry.output(x.shape[1:3], kernel.shape[:2])
    x = turned(x, kernel)
    rows, columns = (height + 1) // 2, (width + 1) // 2  # tiles
    (top, _), (left, _) = geometry.pads
    pads = (
        (top, 2 * rows + 2 - top - x.shape[1]),
        (left, 2 * columns + 2 - left - x.shape[2]),
    )
    tiles = _input_tiles(jnp.pad(x, ((0, 0), *pads, (0, 0))))
    weights = _kernel_tiles(kernel)
    products = [[product(weights[i, j], tiles[i][j], x.dtype) for j in range(4)] for i in range(4)]
    y = _output(barrier(products), kernel.shape[-1], rows, columns)
    return turned(y[:, :height, :width], kernel), (tiles, kernel)


def _backward(geometry: Geometry, saved: tuple[Grid, Array], g: Array) -> tuple[Array, Array]:
    tiles, kernel = saved
    height, width = g.shape[1:3]
    g = turned(g, kernel)
    g = jnp.pad(g, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows, columns = g.shape[1] // 2, g.shape[2] // 2
    cotangents = _output_adjoint(g)
    weights = barrier(_kernel_tiles(kernel).swapaxes(2, 3))
    dw = jnp.stack(
        [jnp.stack([product_t(tiles[i][j], cotangents[i][j]) for j in range(4)]) for i in range(4)]
    )  # [4, 4, C, O]
    transform = jnp.asarray(_G, dw.dtype)
    dw = jnp.einsum("ai,bj,abco->ijco", transform, transform, dw, precision="highest")
    d = [[product(weights[i, j], cotangents[i][j], g.dtype) for j in range(4)] for i in range(4)]
    dx = _input_adjoint(barrier(d), kernel.shape[2], rows, columns)
    (top, bottom), (left, right) = geometry.pads
    dx = dx[:, top : height + 2 - bottom, left : width + 2 - right]
    return turned(dx, kernel), dw.astype(kernel.dtype)


_conv.defvjp(_forward, _backward)


def _combine(coefficients: np.ndarray, parts: list[Array]) -> Array:
    """The sum of `parts` with coefficients 0, 1 and -1, without a multiplication."""
    signed = [part if c > 0 else -part for c, part in zip(coefficients, parts, strict=True) if c]
    return reduce(jnp.add, signed)


def _kernel_tiles(kernel: Array) -> Array:
    """G K G^T for every pair of channels: [3, 3, C, O] to [4, 4, O, C]."""
    transform = jnp.asarray(_G, wide(kernel.dtype))
    tiles = jnp.einsum("ai,bj,ijco->aboc", transform, transform, widen(kernel), precision="highest")
    return barrier(tiles.astype(kernel.dtype))


def _input_tiles(x: Array) -> Grid:
    """B^T X B for every tile of padded `x` [C, H, W, N]: sixteen [C, tiles N]."""
    height, width = x.shape[1:3]
    by_row = [x[:, i : height - 3 + i : 2] for i in range(4)]
    grid = []
    for row in _B:
        across = barrier(_combine(row, by_row))
        by_column = [across[:, :, j : width - 3 + j : 2] for j in range(4)]
        grid.append([_combine(column, by_column).reshape(x.shape[0], -1) for column in _B])
    return barrier(grid)


def _input_adjoint(d: Grid, channels: int, rows: int, columns: int) -> Array:
    """The adjoint of `_input_tiles`: overlapping tiles add up."""
    lines = []
    for row in d:
        tiles = [part.reshape(channels, rows, columns, -1) for part in row]
        parts = [_combine(_B[:, j], tiles) for j in range(4)]
        lines.append(barrier(overlap(parts, 2, 2, 2 * columns + 2)))
    return overlap([_combine(_B[:, i], lines) for i in range(4)], 1, 2, 2 * rows + 2)


def _output(products: Grid, features: int, rows: int, columns: int) -> Array:
    """A^T M A for every tile: [O, 2 rows, 2 columns, N]."""
    lines = []
    for row in _A:
        halves = barrier([_combine(row, [products[i][j] for i in range(4)]) for j in range(4)])
        tiles = [half.reshape(features, rows, columns, -1) for half in halves]
        lines.append(jnp.stack([_combine(column, tiles) for column in _A], 3))
    return jnp.stack(lines, 2).reshape(features, 2 * rows, 2 * columns, -1)


def _output_adjoint(g: Array) -> Grid:
    """The adjoint of `_output`: sixteen [O, tiles N]."""
    by_row = [g[:, i::2] for i in range(2)]
    grid = []
    for i in range(4):
        line = barrier(_combine(_A[:, i], by_row))
        by_column = [line[:, :, j::2] for j in range(2)]
        grid.append([_combine(_A[:, j], by_column).reshape(g.shape[0], -1) for j in range(4)])
    return barrier(grid)
