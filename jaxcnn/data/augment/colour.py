"""Augmentation that changes colours and leaves every pixel in its place."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.augment.check import check_image, check_number, to_pixels
from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, Key, describe

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL and torchvision


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Changes brightness, contrast and saturation, in this order, each by a random factor.

    Each factor f is uniform in `1 - limit .. 1 + limit`; g is a pixel's grey (0.299 R + 0.587 G +
    0.114 B; the pixel itself if the image has one channel):

    - brightness: `f x`
    - contrast: `f x + (1 - f) mean(g)`, the mean over the image
    - saturation: `f x + (1 - f) g`

    clipped to 0 .. 255 after each and rounded once. Limits 0 give the image itself.

    Args:
      brightness: limit, in [0, 1].
      contrast: limit, in [0, 1].
      saturation: limit, in [0, 1]; grey images do not change.

    Raises:
      ConfigError: a limit is outside [0, 1].
      ShapeError: when called: the image has neither one channel nor three.

    Source: deck E, "changing RGB intensities". torchvision draws the order as well.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_number(field.name, getattr(self, field.name), 1)

    def __call__(self, key: Key, image: Array) -> Array:
        limits = jnp.asarray([self.brightness, self.contrast, self.saturation], jnp.float32)
        factors = 1 + limits * jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
        return jitter(image, factors)


@dataclasses.dataclass(frozen=True)
class PCANoise:
    """Adds to all pixels of an image one random colour along the principal colours of the data.

    `x + 255 P (a * l)`: P the eigenvectors and l the eigenvalues of the covariance of the
    channels, pixels counted from 0 to 1; a normal with `deviation`, one number for each
    eigenvalue and image. `fit_pca_noise` makes it.

    Args:
      eigenvalues: l, one for each channel.
      eigenvectors: P by rows: row c, column k is channel c of eigenvector k.
      deviation: of a; 0 does nothing.

    Raises:
      ConfigError: the shapes do not fit or a number is out of range.
      ShapeError: when called: the image has another number of channels.

    Source: Krizhevsky et al. 2012, deviation 0.1. The eigenvalue is a variance, so its size
    depends on the unit of pixels, which the paper leaves open: counted from 0 to 1 it gives
    a few grey levels, from 0 to 255 hundreds.
    """

    eigenvalues: tuple[float, ...]
    eigenvectors: tuple[tuple[float, ...], ...]
    deviation: float = 0.1

    def __post_init__(self) -> None:
        check_number("deviation", self.deviation)
        for value in self.eigenvalues:
            check_number("eigenvalues", value)
        channels = len(self.eigenvalues)
        if not channels or [len(row) for row in self.eigenvectors] != [channels] * channels:
            raise ConfigError(
                f"got {channels} eigenvalues and eigenvectors {self.eigenvectors!r}: expected K "
                "values and K rows of K; fit_pca_noise(dataset) makes them."
            )

    def __call__(self, key: Key, image: Array) -> Array:
        check_image(image)
        channels = len(self.eigenvalues)
        if image.shape[-1] != channels:
            raise ShapeError(f"got an image {describe(image)}, expected {channels} channels.")
        draws = self.deviation * jax.random.normal(key, (channels,))
        scaled = draws * jnp.asarray(self.eigenvalues, jnp.float32)
        # A sum rather than a matrix product, which may round to bfloat16 on accelerators.
        colour = jnp.sum(jnp.asarray(self.eigenvectors, jnp.float32) * scaled[None], axis=1)
        return to_pixels(image.astype(jnp.float32) + 255 * colour[None, None])


def fit_pca_noise(dataset: Dataset, *, deviation: float = 0.1) -> PCANoise:
    """`PCANoise` with the principal colours of all pixels of a data set.

    In float64 on the host, a part of the images at a time. Eigenvalues fall; of each
    eigenvector the largest component is positive.

    Args:
      dataset: the training examples.
      deviation: see `PCANoise`.
    """
    channels = dataset.image_shape[2]
    total, products, count = np.zeros(channels), np.zeros((channels, channels)), 0
    part = max(2**20 // int(np.prod(dataset.image_shape)), 1)
    for first in range(0, len(dataset), part):
        pixels = dataset.images[first : first + part].reshape(-1, channels).astype(np.float64)
        total += pixels.sum(0)  # sums of integers below 2^53: exact
        products += pixels.T @ pixels
        count += len(pixels)
    mean = total / count
    values, vectors = np.linalg.eigh((products / count - np.outer(mean, mean)) / 255**2)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    largest = np.abs(vectors).argmax(0)
    vectors = vectors * np.sign(vectors[largest, np.arange(channels)])
    return PCANoise(tuple(values.tolist()), tuple(map(tuple, vectors.tolist())), deviation)


def jitter(image: Array, factors: Array) -> Array:
    """The image with these factors of brightness, contrast and saturation, [3]."""
    check_image(image)
    channels = image.shape[-1]
    if channels not in (1, 3):
        raise ShapeError(f"got an image {describe(image)}, expected 1 or 3 channels.")

    def grey(x: Array) -> Array:
        if channels == 1:
            return x
        return jnp.sum(x * jnp.asarray(_LUMA, jnp.float32)[None, None], -1, keepdims=True)

    def blend(x: Array, other: Array, factor: Array) -> Array:
        # Written so that factor 1 gives x exactly.
        return jnp.clip(x + (factor - 1) * (x - other), 0, 255)

    x = image.astype(jnp.float32)
    x = blend(x, jnp.zeros_like(x), factors[0])
    x = blend(x, jnp.mean(grey(x), keepdims=True), factors[1])
    return to_pixels(blend(x, grey(x), factors[2]))
