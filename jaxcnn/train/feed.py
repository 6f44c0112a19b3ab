"""Where the batches of a training come from: memory of the device, or a stream.

A feed is asked on the host for what the compiled program is to be `held` for its next call, and
inside the program for the `batch` of a step, which it makes of that. Both are functions of the
step's number alone, so a training can go on at any step, or go back to one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import numpy as np

from jaxcnn.data.ahead import Throughput, prefetch
from jaxcnn.data.batches import (
    Augment,
    Mix,
    augmented,
    epoch_order,
    mixed,
    steps_per_epoch,
    train_batch,
)
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.stream import Stream
from jaxcnn.errors import ConfigError
from jaxcnn.parallel.plan import Plan
from jaxcnn.typing import Array, Batch, Key

Part = tuple[Array | int, int]


class Feed(Protocol):
    """See the module.

    Attributes:
      per_epoch: steps of an epoch.
      most: steps that one call can make of what is held; None if any number.
      divided: whether each device is given its own rows of what is held.
      throughput: how long training waited for input; None where it never waits.
    """

    per_epoch: int
    most: int | None
    divided: bool
    throughput: Throughput | None

    def held(self, step: int) -> Any:
        """For the call that begins at `step`: arrays on the device."""
        ...

    def batch(self, held: Any, step: Array, key: Key, part: Part) -> Batch:
        """Inside the program: the rows of `step` that belong to `part`."""
        ...

    def close(self) -> None:
        """Ends whatever works in the background."""
        ...


def make_feed(
    dataset: Dataset | Stream,
    batch_size: int,
    epochs: int,
    key: Key,
    layout: Plan,
    augment: Augment | None,
    mix: Mix | None,
) -> Feed:
    """The feed of a data set or a stream; arguments as of `fit`.

    Raises:
      ConfigError: the stream was made for another batch size or number of processes.
    """
    if isinstance(dataset, Stream):
        if (dataset.batch_size, dataset.processes) != (batch_size, layout.processes):
            raise ConfigError(
                f"the stream makes batches of {dataset.batch_size} rows for {dataset.processes} "
                f"process(es), but training takes {batch_size} for {layout.processes}.\n"
                "Make the stream with the same batch_size and processes."
            )
        return _Streamed(dataset, epochs, layout, augment, mix)
    return _Resident(dataset, batch_size, key, layout, augment, mix)


class _Resident:
    """The whole set on every device, as it is stored; any number of steps a call."""

    most: int | None = None
    divided = False
    throughput: Throughput | None = None

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        key: Key,
        layout: Plan,
        augment: Augment | None,
        mix: Mix | None,
    ) -> None:
        self.per_epoch = steps_per_epoch(len(dataset), batch_size)
        self._batch_size = batch_size
        self._augment, self._mix = augment, mix
        self._images, self._labels = layout.share((dataset.images, dataset.labels))
        self._key = key
        self._make_order = layout.compile(
            lambda key, epoch: epoch_order(key, epoch, len(dataset), batch_size),
            (key, np.int32(0)),
        )
        self._order: tuple[int, Any] = (-1, None)

    def held(self, step: int) -> Any:
        epoch = step // self.per_epoch
        if self._order[0] != epoch:
            self._order = epoch, self._make_order(self._key, np.int32(epoch))
        return self._order[1], self._images, self._labels

    def batch(self, held: Any, step: Array, key: Key, part: Part) -> Batch:
        order, images, labels = held
        return train_batch(
            images,
            labels,
            order,
            key,
            epoch=step // self.per_epoch,
            position=step % self.per_epoch,
            batch_size=self._batch_size,
            augment=self._augment,
            mix=self._mix,
            part=part,
        )

    def close(self) -> None:
        """Nothing works in the background."""


class _Streamed:
    """One batch a call, read ahead of it by the stream's workers."""

    most: int | None = 1
    divided = True

    def __init__(
        self,
        stream: Stream,
        epochs: int,
        layout: Plan,
        augment: Augment | None,
        mix: Mix | None,
    ) -> None:
        self.per_epoch = stream.steps
        self.throughput: Throughput | None = Throughput()
        self._stream, self._layout = stream, layout
        self._last = epochs * stream.steps
        self._augment, self._mix = augment, mix
        self._latest: tuple[int, Any] = (-2, None)  # a step and its batch
        self._ready: Any = None
        stream.at_close(self.close)  # where an error ends the training, nobody else would

    def held(self, step: int) -> Any:
        latest, batch = self._latest
        if step == latest:
            return batch
        if step != latest + 1:
            self.close()
            ahead = prefetch(self._from(step), self._layout.place)
            self._ready = ahead, self._throughput.measure(ahead)
        _, measured = self._ready
        self._latest = step, next(measured)
        return self._latest[1]

    @property
    def _throughput(self) -> Throughput:
        assert self.throughput is not None  # noqa: S101  (for the type checker)
        return self.throughput

    def _from(self, step: int) -> Iterator[Batch]:
        epochs = range(step // self.per_epoch, -(-self._last // self.per_epoch))
        starts = itertools.chain([step % self.per_epoch], itertools.repeat(0))
        for epoch, start in zip(epochs, starts, strict=False):
            yield from self._stream.batches(epoch, start)

    def batch(self, held: Batch, step: Array, key: Key, part: Part) -> Batch:
        number, parts = part
        rows_here = held.labels.shape[0]
        batch_size = self._stream.batch_size
        epoch, first = step // self.per_epoch, step % self.per_epoch * batch_size
        if self._augment is not None:
            rows = first + number * rows_here + jax.numpy.arange(rows_here, dtype=np.int32)
            images = augmented(self._augment, held.images, key, epoch=epoch, rows=rows)
            held = held._replace(images=images)
        return mixed(self._mix, held, key, epoch=epoch, first_row=first, parts=parts)

    def close(self) -> None:
        if self._ready is not None:
            ahead, measured = self._ready
            self._ready, self._latest = None, (-2, None)
            measured.close()
            ahead.close()
