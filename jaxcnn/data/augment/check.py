"""What augmentations check, and how they return to stored pixels."""

from __future__ import annotations

import math

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, describe


def check_image(image: Array) -> None:
    """Raises unless `image` is [H, W, C] uint8."""
    if image.ndim != 3 or image.dtype != jnp.uint8:
        raise ShapeError(
            f"got an image {describe(image)}, expected uint8[H, W, C]: augmentation works on one "
            "stored image; map it over a batch with jax.vmap(augment)(keys, images)."
        )


def check_count(name: str, value: int, least: int) -> None:
    """Raises unless `value` is an int of at least `least`."""
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r} is not allowed: expected an int, {least} or more.")


def check_number(name: str, value: float, most: float = math.inf) -> None:
    """Raises unless `value` is a finite number in 0 .. `most`."""
    if not (0 <= value <= most and math.isfinite(value)):
        allowed = "0 or more" if most == math.inf else f"a number in [0, {most:g}]"
        raise ConfigError(f"{name}={value!r} is not allowed: expected {allowed}.")


def to_pixels(image: Array) -> Array:
    """Floating pixels in 0 .. 255 to uint8: rounded (halves to even) and clipped."""
    return jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8)
