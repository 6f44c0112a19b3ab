"""Augmentation: frozen functions `(key, image [H, W, C]) -> image`, run on the device."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Shift:
    """Moves the image by up to `pixels` along each axis and fills with 0.

    Every whole shift in `-pixels .. pixels` is equally likely, rows and columns on their own.

    Raises:
      ConfigError: `pixels` is negative.
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
