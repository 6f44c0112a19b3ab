"""From stored pixels to network input: frozen, comparable functions of whole batches.

Statistics are counted in network units, pixels / 255. The `fit_` functions compute them over
the training examples: on the host, in float64 from exact integer sums, a part of the images
at a time. `to_dict` and `from_dict` turn any of these, and any augmentation, into values that
JSON can hold and back.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import ConfigError, DataError, ShapeError
from jaxcnn.typing import Array, describe

_PART = 2**20  # pixel values in memory at a time while fitting


@dataclasses.dataclass(frozen=True)
class Scale:
    """`pixels / 255`: uint8 [..., C] to float32 in [0, 1]."""

    def __call__(self, images: Array) -> Array:
        return images.astype(jnp.float32) / 255


@dataclasses.dataclass(frozen=True)
class Standardize:
    """`(pixels / 255 - mean) / deviation`, channel by channel: uint8 [..., C] to float32.

    With all deviations 1, which is the default, only the mean is subtracted.

    Args:
      mean: one number for each channel, in [0, 1] units.
      deviation: one positive number for each channel. None: all 1.

    Raises:
      ConfigError: the numbers do not fit together.
      ShapeError: when called: the images have another number of channels.

    >>> prepare = Standardize(mean=(0.5,), deviation=(0.25,))
    >>> print(prepare(jnp.asarray([[[[0], [255]]]], jnp.uint8))[0, 0, :, 0])
    [-2.  2.]

    Source: mean only: deck E, "subtract the mean of RGB intensities of the whole dataset from
    each pixel", and VGG (Simonyan and Zisserman 2015), which leaves pixels in 0 .. 255; mean
    and deviation: ResNet codes since He et al. 2016.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        mean, deviation = self.mean, self.deviation
        if not mean or not all(math.isfinite(value) for value in mean):
            raise ConfigError(f"mean={mean!r} is not allowed: expected finite numbers.")
        if deviation is not None and len(deviation) != len(mean):
            raise ConfigError(f"got {len(mean)} means and {len(deviation)} deviations.")
        if not all(0 < value < math.inf for value in deviation or ()):
            raise ConfigError(f"deviation={deviation!r} is not allowed: expected positive numbers.")

    def __call__(self, images: Array) -> Array:
        if images.shape[-1] != len(self.mean):
            raise ShapeError(
                f"got images {describe(images)}, expected {len(self.mean)} channels, as many as "
                "means."
            )
        along = (1,) * (images.ndim - 1) + (-1,)
        scaled = images.astype(jnp.float32) / 255
        scaled = scaled - jnp.asarray(self.mean, jnp.float32).reshape(along)
        if self.deviation is None:
            return scaled
        return scaled / jnp.asarray(self.deviation, jnp.float32).reshape(along)


@dataclasses.dataclass(frozen=True)
class SubtractMeanImage:
    """`pixels / 255 - mean image`: uint8 [N, H, W, C] to float32.

    Args:
      shape: H, W, C.
      values: the mean image's pixels as little-endian float32, in [0, 1] units. Bytes, so that
        the function compares and hashes; `fit_mean_image` makes them.

    Raises:
      ConfigError: the number of bytes does not fit the shape.
      ShapeError: when called: the images have another shape.

    Source: AlexNet (Krizhevsky et al. 2012), which leaves pixels in 0 .. 255.
    """

    shape: tuple[int, int, int]
    values: bytes = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if len(self.values) != 4 * math.prod(self.shape):
            raise ConfigError(
                f"got {len(self.values)} bytes for a mean image {list(self.shape)}: expected "
                f"{4 * math.prod(self.shape)}; fit_mean_image(dataset) makes them."
            )

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean image, [H, W, C]."""
        return np.frombuffer(self.values, "<f4").astype(np.float32).reshape(self.shape)

    def __call__(self, images: Array) -> Array:
        if images.shape[1:] != self.shape:
            raise ShapeError(
                f"got images {describe(images)}, expected [N, {', '.join(map(str, self.shape))}], "
                "as the mean image."
            )
        return images.astype(jnp.float32) / 255 - jnp.asarray(self.mean)[None]


@dataclasses.dataclass(frozen=True)
class Pad:
    """Adds `pixels` rows and columns of `value` on each side: [N, H, W, C], dtype kept.

    `Pad(2)` makes 32x32 of 28x28, as LeNet-5 wants it.

    Args:
      pixels: 0 or more.
      value: what is added.

    Raises:
      ConfigError: `pixels` is not an int of 0 or more.
    """

    pixels: int
    value: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or self.pixels < 0:
            raise ConfigError(f"pixels={self.pixels!r} is not allowed: expected 0 or more.")

    def __call__(self, images: Array) -> Array:
        p = self.pixels
        return jnp.pad(images, ((0, 0), (p, p), (p, p), (0, 0)), constant_values=self.value)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Preparations one after another: `Steps((Pad(2), Scale()))`.

    Args:
      parts: functions of whole batches, first to last.

    Raises:
      ConfigError: a part is not callable.
    """

    parts: tuple[Callable[[Array], Array], ...]

    def __post_init__(self) -> None:
        for part in self.parts:
            if not callable(part):
                raise ConfigError(f"part {part!r} is not allowed: expected a function.")
        object.__setattr__(self, "parts", tuple(self.parts))

    def __call__(self, images: Array) -> Array:
        for part in self.parts:
            images = part(images)
        return images


def fit_mean_image(dataset: Dataset) -> SubtractMeanImage:
    """`SubtractMeanImage` with the mean of all images of a data set."""
    total = np.zeros(dataset.image_shape, np.uint64)
    for images in _parts(dataset):
        total += images.sum(0, dtype=np.uint64)
    mean = total.astype(np.float64) / len(dataset) / 255
    return SubtractMeanImage(dataset.image_shape, mean.astype("<f4").tobytes())


def fit_channel_mean(dataset: Dataset) -> Standardize:
    """`Standardize` with the mean of each channel, and no deviation."""
    mean, _ = _channel_statistics(dataset)
    return Standardize(tuple(mean.tolist()))


def fit_mean_deviation(dataset: Dataset) -> Standardize:
    """`Standardize` with mean and deviation of each channel, over all pixels of a data set.

    The deviation is that of the population (divided by n), as in torchvision's tables.

    Raises:
      DataError: a channel has the same value everywhere.
    """
    mean, deviation = _channel_statistics(dataset)
    if not deviation.all():
        channel = int(np.argmin(deviation))
        raise DataError(
            f"{dataset.name}: channel {channel} is {mean[channel]:.4g} everywhere: there is no "
            "deviation to divide by. Use fit_channel_mean."
        )
    return Standardize(tuple(mean.tolist()), tuple(deviation.tolist()))


def _channel_statistics(
    dataset: Dataset,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each channel, from the exact count of every pixel value."""
    channels = dataset.image_shape[2]
    counts = np.zeros((channels, 256), np.int64)
    for images in _parts(dataset):
        for channel in range(channels):
            counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    return mean, np.sqrt((share * (values - mean[:, None]) ** 2).sum(1))


def _parts(dataset: Dataset) -> Iterator[NDArray[np.uint8]]:
    rows = max(_PART // math.prod(dataset.image_shape), 1)
    for first in range(0, len(dataset), rows):
        yield dataset.images[first : first + rows]
