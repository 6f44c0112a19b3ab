"""Checks of array arguments, with messages that say what was got and what is allowed."""

from __future__ import annotations

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, Spec, describe


def images(x: Array | Spec, *, spatial: int | None = None) -> int:
    """Checks `x [N, *space, C]` (floating) and returns its number of spatial axes."""
    rank = len(x.shape) - 2
    if rank < 1 or (spatial is not None and rank != spatial):
        wanted = {None: "[N, *space, C]", 1: "[N, L, C]", 2: "[N, H, W, C]", 3: "[N, D, H, W, C]"}
        raise ShapeError(
            f"got {describe(x)}, expected {wanted[spatial]}.\n"
            "Images have a batch axis first and channels last; `x[None]` adds a batch axis, "
            "`x[..., None]` a channel."
        )
    floating(x)
    return rank


def floating(x: Array | Spec) -> None:
    """Checks that `x` has a floating dtype."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ShapeError(
            f"got {describe(x)}, expected a floating dtype.\n"
            "Convert stored pixels first, for example `x.astype('float32') / 255`."
        )


def positive(value: int, name: str) -> None:
    """Checks that the setting `name` is a positive int."""
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r} is not allowed: expected a positive int.")
