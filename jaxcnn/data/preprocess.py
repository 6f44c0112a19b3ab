"""From stored pixels to network input: frozen, comparable functions of whole batches."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from jaxcnn.typing import Array


@dataclasses.dataclass(frozen=True)
class Scale:
    """`pixels / 255`: uint8 [..., C] to float32 in [0, 1]."""

    def __call__(self, images: Array) -> Array:
        return images.astype(jnp.float32) / 255
