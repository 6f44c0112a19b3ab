"""Augmentation that moves pixels by fractions: bilinear interpolation, 0 outside the image."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from numpy.typing import NDArray

from jaxcnn.data.augment.check import check_image, check_number, to_pixels
from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Affine:
    """Turns, zooms, shears and moves the image about its middle, each by a random amount.

    Pixel p shows the place `c + M (p - c - t)`, c the middle of the image and M the inverse of
    `turn shear zoom`; each amount is uniform in plus or minus its limit. All amounts 0 give the
    image itself.

    Args:
      degrees: limit of the turn, anticlockwise as seen.
      pixels: limit of the move t along each axis.
      zoom: the zoom is uniform in `1 - zoom .. 1 + zoom`, in [0, 1).
      shear: limit of the shear along rows, in degrees, below 90.

    Raises:
      ConfigError: a limit is out of range.

    Where libraries differ: outside the image is 0, and a place less than a pixel outside is
    mixed with it, as with `scipy.ndimage`'s mode "grid-constant".
    """

    degrees: float = 0.0
    pixels: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        check_number("degrees", self.degrees)
        check_number("pixels", self.pixels)
        for name, value, end in (("zoom", self.zoom, 1), ("shear", self.shear, 90)):
            if not 0 <= value < end:
                raise ConfigError(
                    f"{name}={value!r} is not allowed: expected a number in [0, {end})."
                )

    def __call__(self, key: Key, image: Array) -> Array:
        limits = jnp.asarray([self.degrees, self.zoom, self.shear, self.pixels, self.pixels])
        limits = limits.astype(jnp.float32)
        amounts = limits * jax.random.uniform(key, (5,), minval=-1.0, maxval=1.0)
        matrix = affine_matrix(jnp.deg2rad(amounts[0]), 1 + amounts[1], jnp.deg2rad(amounts[2]))
        return affine(image, matrix, amounts[3:])


@dataclasses.dataclass(frozen=True)
class Elastic:
    """Distorts the image by a smooth random field, as if it were drawn on rubber.

    `d = alpha (G * u)`: u uniform in [-1, 1] for each pixel and each of the two axes, G a
    Gaussian of `sigma` pixels cut off at 4 sigma, with 0 outside. Pixel p shows place p + d(p).

    Args:
      alpha: strength; 0 does nothing.
      sigma: smoothness in pixels, positive. Small values give noise, large ones a mere shift.

    Raises:
      ConfigError: a number is out of range.

    Source: Simard et al. 2003, for digits: alpha 34 and sigma 4 on 29x29. Some codes divide the
    field by its norm first and have another alpha; this one, like most, does not.
    """

    alpha: float
    sigma: float

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha)
        if not 0 < self.sigma < float("inf"):
            raise ConfigError(f"sigma={self.sigma!r} is not allowed: expected a positive number.")

    def __call__(self, key: Key, image: Array) -> Array:
        noise = jax.random.uniform(key, (2, *image.shape[:2]), minval=-1.0, maxval=1.0)
        return elastic(image, noise, self.alpha, self.sigma)


def affine_matrix(turn: Array, zoom: Array, shear: Array) -> Array:
    """M, [2, 2] in (row, column): the inverse of `turn shear zoom`, angles in radians."""
    one, zero = jnp.ones_like(turn), jnp.zeros_like(turn)
    # Rows grow downwards, which makes this turn anticlockwise as seen.
    unturn = jnp.stack([jnp.cos(turn), jnp.sin(turn), -jnp.sin(turn), jnp.cos(turn)])
    unshear = jnp.stack([one, zero, -jnp.tan(shear), one])
    both = jnp.matmul(
        unshear.reshape(2, 2), unturn.reshape(2, 2), precision=jax.lax.Precision.HIGHEST
    )
    return both / zoom


def affine(image: Array, matrix: Array, move: Array) -> Array:
    """The image whose pixel p shows the place `c + matrix (p - c - move)`.

    Args:
      image: [H, W, C] uint8.
      matrix: [2, 2] in (row, column).
      move: [2] in pixels.
    """
    check_image(image)
    height, width = image.shape[:2]
    middle = jnp.asarray([(height - 1) / 2, (width - 1) / 2], jnp.float32)
    row = (jnp.arange(height, dtype=jnp.float32) - middle[0] - move[0])[:, None]
    column = (jnp.arange(width, dtype=jnp.float32) - middle[1] - move[1])[None, :]
    rows = middle[0] + matrix[0, 0] * row + matrix[0, 1] * column
    columns = middle[1] + matrix[1, 0] * row + matrix[1, 1] * column
    return sample(image, rows, columns)


def elastic(image: Array, noise: Array, alpha: float, sigma: float) -> Array:
    """The image distorted by `alpha` times `noise` ([2, H, W]) smoothed with `sigma`."""
    check_image(image)
    height, width = image.shape[:2]
    field = alpha * jnp.einsum(
        "hi,aij,wj->ahw",
        jnp.asarray(_smoothing(height, sigma)),
        noise,
        jnp.asarray(_smoothing(width, sigma)),
        precision=jax.lax.Precision.HIGHEST,
    )
    rows = jnp.arange(height, dtype=jnp.float32)[:, None] + field[0]
    columns = jnp.arange(width, dtype=jnp.float32)[None, :] + field[1]
    return sample(image, rows, columns)


def sample(image: Array, rows: Array, columns: Array) -> Array:
    """The image at floating places ([H, W] each), bilinear, 0 outside; uint8 in and out."""
    channels = jax.vmap(
        lambda channel: map_coordinates(channel, [rows, columns], order=1, cval=0.0),
        in_axes=-1,
        out_axes=-1,
    )
    return to_pixels(channels(image.astype(jnp.float32)))


def _smoothing(size: int, sigma: float) -> NDArray[np.float32]:
    """The matrix [size, size] that smooths a line with a Gaussian, 0 outside."""
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    apart = np.arange(size)[:, None] - np.arange(size)[None, :]
    inside = np.abs(apart) <= radius
    return np.where(inside, weights[np.clip(apart, -radius, radius) + radius], 0).astype(np.float32)
