"""Hand-made filters: what a kernel can mean.

The constants are NumPy arrays [3, 3], float32, read-only, oriented as the decks print them.
Use them with `conv2d`, which does not flip: `F.conv2d(x, F.filters.bank(F.filters.SOBEL_X))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.typing import Array


def _filter(rows: list[list[float]], divisor: float = 1.0) -> npt.NDArray[np.float32]:
    matrix = np.asarray(rows, np.float32) / np.float32(divisor)
    matrix.flags.writeable = False  # a constant that could be changed would be no constant
    return matrix


EDGES_DIAGONAL = _filter([[1, 0, -1], [0, 0, 0], [-1, 0, 1]])
"""Deck B's first edge filter: the mixed second difference, which answers to corners."""

EDGES_CROSS = _filter([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
"""Deck B's second edge filter: the Laplacian over four neighbours."""

EDGES_ALL = _filter([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
"""Deck B's third edge filter: the negative Laplacian over eight neighbours."""

SHARPEN = _filter([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
"""The image minus its Laplacian (deck B)."""

BOX_BLUR = _filter([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 9)
"""The mean of nine cells (deck B)."""

GAUSSIAN_BLUR = _filter([[1, 2, 1], [2, 4, 2], [1, 2, 1]], 16)
"""The binomial approximation of a Gaussian (deck B)."""

SOBEL_X = _filter([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
"""Deck C's w1: brightness that grows to the right, so vertical edges."""

SOBEL_Y = _filter([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
"""Deck C's w2: brightness that grows upwards, so horizontal edges."""

SMOOTHING = _filter([[3, 4, 3], [4, 5, 4], [3, 4, 3]])
"""Deck C's w3, as printed: a blur times 33, the sum of its entries."""

NAMED: Mapping[str, npt.NDArray[np.float32]] = MappingProxyType(
    {
        "edges_diagonal": EDGES_DIAGONAL,
        "edges_cross": EDGES_CROSS,
        "edges_all": EDGES_ALL,
        "sharpen": SHARPEN,
        "box_blur": BOX_BLUR,
        "gaussian_blur": GAUSSIAN_BLUR,
        "sobel_x": SOBEL_X,
        "sobel_y": SOBEL_Y,
        "smoothing": SMOOTHING,
    }
)
"""All of them by name, for tables and pictures."""


def bank(*filters: npt.ArrayLike | Array) -> Array:
    """Stacks filters [h, w] of one size into a kernel for grey images.

    Returns:
      [h, w, 1, number of filters], for `conv2d`.

    Raises:
      ShapeError: no filters, or filters that are not matrices of one size.

    >>> bank(SOBEL_X, SOBEL_Y, SMOOTHING).shape
    (3, 3, 1, 3)

    Source: deck C, example 2, a layer of three filters.
    """
    shapes = [np.shape(each) for each in filters]
    if not shapes or len(shapes[0]) != 2 or len(set(shapes)) > 1:
        raise ShapeError(f"got filters of shapes {shapes}, expected at least one, all [h, w].")
    return jnp.stack([jnp.asarray(each) for each in filters], axis=-1)[:, :, None, :]


def gabor(
    size: int,
    *,
    angle: float = 0.0,
    frequency: float = 1.0,
    phase: float = 0.0,
    beta_x: float = 0.1,
    beta_y: float = 0.1,
    amplitude: float = 1.0,
    x0: float = 0.0,
    y0: float = 0.0,
) -> Array:
    """A Gabor function on a grid: a wave under a Gaussian bump.

    `w(x, y) = a exp(-beta_x x'^2 - beta_y y'^2) cos(f x' + phi)` with
    `x' = (x - x0) cos t + (y - y0) sin t` and `y' = -(x - x0) sin t + (y - y0) cos t`.

    Cells in the visual cortex and the first layers of trained networks look like this.

    Args:
      size: cells along both axes.
      angle: t, radians; at 0 the wave runs along x, and the stripes are vertical.
      frequency: f, radians a cell.
      phase: phi, radians: 0 is even (a bar), pi / 2 odd (an edge).
      beta_x, beta_y: how fast the bump falls along and across the wave, 1 / cells^2.
      amplitude: a.
      x0, y0: the centre, in cells from the middle of the grid.

    Returns:
      [size, size], float32; x grows with the column and y with the row, both 0 in the middle.

    Raises:
      ConfigError: `size` is not a positive int.

    >>> print(gabor(3, frequency=jnp.pi, beta_x=0.0, beta_y=0.0).round(3))
    [[-1.  1. -1.]
     [-1.  1. -1.]
     [-1.  1. -1.]]

    Source: deck D, "Gabor functions"; Goodfellow, Bengio and Courville 2016, section 9.10.
    """
    check.positive(size, "size")
    cells = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    x, y = (cells - x0)[None, :], (cells - y0)[:, None]
    along = x * jnp.cos(angle) + y * jnp.sin(angle)
    across = -x * jnp.sin(angle) + y * jnp.cos(angle)
    bump = jnp.exp(-beta_x * along**2 - beta_y * across**2)
    return amplitude * bump * jnp.cos(frequency * along + phase)
