"""Mixing examples of a batch: frozen functions `(key, batch) -> batch` with soft labels.

Row i is mixed with its partner, row i + 1; the last row that counts with row 0. The order of an
epoch is random already, so this is a random partner, and nothing of the result but that of a
batch's last row depends on the batch size. Each row has draws of its own: those of `key` and
`first_row + i`. Pass the epoch's key and the batch's first row in the epoch to make
them independent of the batch size too:

    mix(key_of_epoch, batch, first_row=position * batch_size)

Apply it to the whole batch, before it is split over devices.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.check import check_count
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, Batch, Key, describe


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Averages each image, and its label, with its partner's.

    `x <- b x + (1 - b) x', y <- b y + (1 - b) y'`, b of Beta(alpha, alpha), drawn for each row.

    Args:
      classes: K, the width of the new labels.
      alpha: positive; small values leave most rows nearly alone, 1 is uniform.

    Raises:
      ConfigError: an argument is out of range.
      ShapeError: when called: labels are neither [N] integers nor [N, K].

    Source: Zhang et al. 2018, who draw one b for the batch. uint8 images are rounded.
    """

    classes: int
    alpha: float = 0.2

    def __post_init__(self) -> None:
        _check(self.classes, self.alpha)

    def __call__(self, key: Key, batch: Batch, *, first_row: Array | int = 0) -> Batch:
        """Returns the batch with mixed images and labels [N, K] float32."""
        labels = _soft_labels(batch, self.classes)
        keys = _row_keys(key, batch, first_row)
        own = jax.vmap(lambda key: jax.random.beta(key, self.alpha, self.alpha))(keys)
        partner = _partner(batch)
        share = own[:, None, None, None]
        images = batch.images.astype(jnp.float32)
        mixed = share * images + (1 - share) * images[partner]
        if jnp.issubdtype(batch.images.dtype, jnp.integer):
            mixed = jnp.round(mixed)
        labels = _mix_labels(labels, partner, own)
        return batch._replace(images=mixed.astype(batch.images.dtype), labels=labels)


@dataclasses.dataclass(frozen=True)
class Cutmix:
    """Pastes a rectangle of its partner into each image; labels are shared by area.

    The rectangle has sides `H sqrt(1 - b)` and `W sqrt(1 - b)`, b of Beta(alpha, alpha), rounded
    to pixels; its middle is any pixel, and what sticks out is cut off. The partner's share of
    the label is the area that was pasted.

    Args:
      classes: K, the width of the new labels.
      alpha: positive; 1 is uniform.

    Raises:
      ConfigError: an argument is out of range.
      ShapeError: when called: labels are neither [N] integers nor [N, K].

    Source: Yun et al. 2019, who draw one rectangle for the batch.
    """

    classes: int
    alpha: float = 1.0

    def __post_init__(self) -> None:
        _check(self.classes, self.alpha)

    def __call__(self, key: Key, batch: Batch, *, first_row: Array | int = 0) -> Batch:
        """Returns the batch with mixed images and labels [N, K] float32."""
        labels = _soft_labels(batch, self.classes)
        height, width = batch.images.shape[1:3]

        def pasted(key: Key) -> Array:
            """Where the partner shows, [H, W] bool."""
            beta_key, place_key = jax.random.split(key)
            side = jnp.sqrt(1 - jax.random.beta(beta_key, self.alpha, self.alpha))
            sizes = jnp.round(side * jnp.asarray([height, width], jnp.float32)).astype(jnp.int32)
            middle = jax.random.randint(place_key, (2,), 0, jnp.asarray([height, width]))
            start = middle - sizes // 2
            row, column = jnp.arange(height) - start[0], jnp.arange(width) - start[1]
            inside_row = (row >= 0) & (row < sizes[0])
            inside_column = (column >= 0) & (column < sizes[1])
            return inside_row[:, None] & inside_column[None, :]

        masks = jax.vmap(pasted)(_row_keys(key, batch, first_row))
        partner = _partner(batch)
        images = jnp.where(masks[..., None], batch.images[partner], batch.images)
        own = 1 - jnp.mean(masks.astype(jnp.float32), axis=(1, 2))
        labels = _mix_labels(labels, partner, own)
        return batch._replace(images=images, labels=labels)


def _row_keys(key: Key, batch: Batch, first_row: Array | int) -> Array:
    rows = first_row + jnp.arange(batch.images.shape[0], dtype=jnp.int32)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)


def _partner(batch: Batch) -> Array:
    """The next row, [N] int32; rows that only pad the batch, which come last, are nobody's."""
    count = jnp.maximum(jnp.sum(batch.counted, dtype=jnp.int32), 1)
    return (jnp.arange(batch.images.shape[0], dtype=jnp.int32) + 1) % count


def _soft_labels(batch: Batch, classes: int) -> Array:
    """Labels as [N, K] float32."""
    labels = batch.labels
    if labels.ndim == 1 and jnp.issubdtype(labels.dtype, jnp.integer):
        labels = jax.nn.one_hot(labels, classes, dtype=jnp.float32)
    elif labels.ndim != 2 or labels.shape[1] != classes:
        raise ShapeError(
            f"got labels {describe(labels)}, expected integers [N] or floats [N, {classes}]."
        )
    return labels.astype(jnp.float32)


def _mix_labels(labels: Array, partner: Array, own: Array) -> Array:
    return own[:, None] * labels + (1 - own[:, None]) * labels[partner]


def _check(classes: int, alpha: float) -> None:
    check_count("classes", classes, 1)
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"alpha={alpha!r} is not allowed: expected a positive number.")
