"""The types that cross module borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
"""A typed random key, as `jax.random.key(seed)` makes it."""

Spec: TypeAlias = jax.ShapeDtypeStruct
"""Shape and dtype of an array, without the array."""

Params: TypeAlias = dict[str, Any]
"""Trained arrays, nested dicts by layer name: `{"conv1": {"kernel": ..., "bias": ...}}`."""

State: TypeAlias = dict[str, Any]
"""Arrays that a layer updates without a gradient (running statistics), nested alike."""

Loss: TypeAlias = Callable[[Array, Array], Array]
"""`(logits [N, K], labels [N] or [N, K]) -> loss of each example [N]`."""

Metrics: TypeAlias = Mapping[str, Array]
"""Counts that may be added up over batches, devices and hosts."""


class Batch(NamedTuple):
    """Examples of one step. `mask` is False on rows that only pad it; None means none do."""

    images: Array  # [N, H, W, C], uint8 as stored or floating once prepared
    labels: Array  # [N], int32
    mask: Array | None = None  # [N], bool

    @property
    def counted(self) -> Array:
        """The mask as an array, [N] bool."""
        return jnp.ones(self.labels.shape[:1], bool) if self.mask is None else self.mask


def describe(x: Array | Spec) -> str:
    """Dtype and shape on one line: `float32[8, 28, 28, 1]`."""
    return f"{getattr(x, 'dtype', type(x).__name__)}{list(getattr(x, 'shape', ()))}"
