"""Augmentation that moves or removes whole pixels: nothing is interpolated."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.check import check_count, check_image
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, Key, describe

Border = Literal["zero", "reflect", "edge"]


@dataclasses.dataclass(frozen=True)
class Shift:
    """Moves the image by up to `pixels` along each axis and fills with 0.

    Every whole shift in `-pixels .. pixels` is equally likely, rows and columns on their own.

    Raises:
      ConfigError: `pixels` is negative.

    Source: deck E, "image translation".
    """

    pixels: int

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or self.pixels < 0:
            raise ConfigError(f"pixels={self.pixels!r} is not allowed: expected 0 or more.")

    def __call__(self, key: Key, image: Array) -> Array:
        p = self.pixels
        padded = jnp.pad(image, ((p, p), (p, p), (0, 0)))
        top, left = jax.random.randint(key, (2,), 0, 2 * p + 1)
        return jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), image.shape)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Cuts a window at a random place of the padded image; every place is equally likely.

    Args:
      padding: pixels added on each side first.
      size: height and width of the window. None: those of the image.
      border: what is added: "zero", "reflect" (mirrored without the edge) or "edge" (repeated).

    Raises:
      ConfigError: an argument is out of range.
      ShapeError: when called: the window is larger than the padded image.

    >>> crop = RandomCrop(size=(224, 224))
    >>> crop(jax.random.key(0), jnp.zeros((256, 256, 3), jnp.uint8)).shape
    (224, 224, 3)

    Source: deck E, "random crop"; 224 of 256: Krizhevsky et al. 2012; padding 4: He et al. 2016.
    """

    padding: int = 0
    size: tuple[int, int] | None = None
    border: Border = "zero"

    def __post_init__(self) -> None:
        check_count("padding", self.padding, 0)
        for side in self.size or ():
            check_count("size", side, 1)
        if self.border not in get_args(Border):
            raise ConfigError(
                f"border={self.border!r} is not allowed: use one of {', '.join(get_args(Border))}."
            )

    def __call__(self, key: Key, image: Array) -> Array:
        check_image(image)
        p = self.padding
        height, width = self.size or image.shape[:2]
        mode = "constant" if self.border == "zero" else self.border
        padded = jnp.pad(image, ((p, p), (p, p), (0, 0)), mode=mode)
        spare = (padded.shape[0] - height, padded.shape[1] - width)
        if min(spare) < 0:
            raise ShapeError(
                f"cannot crop {height}x{width} out of {describe(image)} with padding={p}: use a "
                "smaller size or more padding."
            )
        top, left = jax.random.randint(key, (2,), 0, jnp.asarray(spare) + 1)
        window = (height, width, image.shape[2])
        return jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), window)


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors left and right with a `probability`.

    Raises:
      ConfigError: the probability is outside [0, 1].

    Source: deck E, "horizontal reflections".
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(
                f"probability={self.probability!r} is not allowed: expected a number in [0, 1]."
            )

    def __call__(self, key: Key, image: Array) -> Array:
        return jnp.where(jax.random.bernoulli(key, self.probability), image[:, ::-1], image)


@dataclasses.dataclass(frozen=True)
class Cutout:
    """Fills a square of side `size` with `fill`.

    Its middle is any pixel with equal probability, so that it may stick out over the edge:
    rows `middle - size // 2` up to but not including `middle - size // 2 + size`.

    Args:
      size: side in pixels; 0 does nothing.
      fill: value of the pixels, 0 .. 255.

    Raises:
      ConfigError: an argument is out of range.

    Source: DeVries and Taylor 2017, who fill with 0 after the mean was subtracted: there, the
    mean's pixel value is the `fill` to use.
    """

    size: int
    fill: int = 0

    def __post_init__(self) -> None:
        check_count("size", self.size, 0)
        if not isinstance(self.fill, int) or not 0 <= self.fill <= 255:
            raise ConfigError(f"fill={self.fill!r} is not allowed: expected an int in 0 .. 255.")

    def __call__(self, key: Key, image: Array) -> Array:
        check_image(image)
        height, width = image.shape[:2]
        start = jax.random.randint(key, (2,), 0, jnp.asarray([height, width])) - self.size // 2
        row, column = jnp.arange(height) - start[0], jnp.arange(width) - start[1]
        inside = ((row >= 0) & (row < self.size))[:, None] & ((column >= 0) & (column < self.size))[
            None
        ]
        return jnp.where(inside[..., None], jnp.asarray(self.fill, image.dtype), image)
