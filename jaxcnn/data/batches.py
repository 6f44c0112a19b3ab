"""Which examples make up a step: a pure function of (seed, epoch, position), on the device.

The last batch of an epoch is filled up and its extra rows are masked, so that every example
counts once and one shape is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp

from jaxcnn.data.augment.compose import Example, uses_example
from jaxcnn.errors import ConfigError
from jaxcnn.layer import subkey
from jaxcnn.typing import Array, Batch, Key

Augment: TypeAlias = Callable[[Key, Array], Array]
"""`(key, image [H, W, C]) -> image`, uint8 to uint8. One with a true attribute `uses_example`
is called as `(key, image, Example(epoch, place))`."""


class Mix(Protocol):
    """Mixes the examples of a batch: `Mixup`, `Cutmix`."""

    def __call__(self, key: Key, batch: Batch, *, first_row: Array | int) -> Batch:
        """Returns the batch with mixed images and labels [N, K]."""
        ...


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """ceil(examples / batch_size).

    >>> steps_per_epoch(60_000, 128)
    469
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size={batch_size!r} is not allowed: expected a positive int.")
    return -(-examples // batch_size)


def epoch_order(key: Key, epoch: Array | int, examples: int, batch_size: int) -> Array:
    """The order of examples in an epoch: a permutation, filled up to whole batches.

    Args:
      key: the run's key.
      epoch: counted from 0.
      examples: size of the training set.
      batch_size: rows of a step.

    Returns:
      [steps * batch_size] int32 indices; the rows beyond `examples` repeat the first ones.
    """
    order = jax.random.permutation(jax.random.fold_in(subkey(key, "order"), epoch), examples)
    rows = steps_per_epoch(examples, batch_size) * batch_size
    return jnp.resize(order, (rows,)).astype(jnp.int32)


def train_batch(
    images: Array,
    labels: Array,
    order: Array,
    key: Key,
    *,
    epoch: Array | int,
    position: Array | int,
    batch_size: int,
    augment: Augment | None = None,
    mix: Mix | None = None,
    part: tuple[Array | int, int] = (0, 1),
) -> Batch:
    """The batch at `position` (a step within the epoch) of an epoch with this `order`.

    Each example is augmented with a key of (run, epoch, row in the epoch) alone, so the
    result does not depend on the batch size or on the number of devices. `mix` (`Mixup`,
    `Cutmix`) comes last, sees the whole batch and makes its labels soft.

    `part`, (number, of how many), gives only that part of the batch's rows, one of equal and
    consecutive ones: what one device of many computes. It goes without `mix`.
    """
    number, parts = part
    share = batch_size // parts
    first = position * batch_size + number * share
    rows = first + jnp.arange(share, dtype=jnp.int32)
    index = order[rows]
    chosen = images[index]
    if augment is not None:
        chosen = augmented(augment, chosen, key, epoch=epoch, rows=rows, index=index)
    batch = Batch(chosen, labels[index], rows < images.shape[0])
    first_row = position * batch_size
    return mixed(mix, batch, key, epoch=epoch, first_row=first_row, parts=parts)


def augmented(
    augment: Augment,
    images: Array,
    key: Key,
    *,
    epoch: Array | int,
    rows: Array,
    index: Array | None = None,
) -> Array:
    """Augments each image with a key of (run, epoch, row in the epoch).

    Args:
      augment: of one image.
      images: [B, H, W, C] uint8.
      key: the run's key.
      epoch: counted from 0.
      rows: [B] places in the order of the epoch.
      index: [B] places in the data set, for an augmentation that asks for its example; None
        where they are not known.

    Raises:
      ConfigError: the augmentation asks for its example, which is not known.
    """
    epoch_key = jax.random.fold_in(subkey(key, "augment"), epoch)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(epoch_key, rows)
    if not uses_example(augment):
        return jax.vmap(augment)(keys, images)
    if index is None:
        raise ConfigError(
            f"{augment!r} depends on which example an image is, which a stream does not tell.\n"
            "Leave it out, or hold the data set in memory."
        )
    example = Example(jnp.full_like(index, epoch), index)
    return jax.vmap(augment)(keys, images, example)  # type: ignore[call-arg]


def mixed(
    mix: Mix | None,
    batch: Batch,
    key: Key,
    *,
    epoch: Array | int,
    first_row: Array | int,
    parts: int,
) -> Batch:
    """The batch with `mix` applied, if there is one.

    Raises:
      ConfigError: the batch is one of several parts.
    """
    if mix is None:
        return batch
    if parts > 1:
        raise ConfigError(
            "mixing examples needs the whole batch, but this step computes one part of "
            f"{parts}.\nUse parallel='jit'."
        )
    epoch_key = jax.random.fold_in(subkey(key, "mix"), epoch)
    return mix(epoch_key, batch, first_row=first_row)


def eval_batch(
    images: Array,
    labels: Array,
    position: Array,
    batch_size: int,
    part: tuple[Array | int, int] = (0, 1),
) -> Batch:
    """The batch at `position` in stored order; the last one is filled up and masked."""
    number, parts = part
    share = batch_size // parts
    rows = position * batch_size + number * share + jnp.arange(share, dtype=jnp.int32)
    index = jnp.minimum(rows, images.shape[0] - 1)
    return Batch(images[index], labels[index], rows < images.shape[0])
