"""Batches of pictures that do not fit in memory, from a folder or a prepared set.

`Stream` reads, crops and stacks in worker processes. Which example comes where, and how it is
cropped, is a pure function of (seed, epoch, place in the epoch). So the number of workers
changes nothing, and (epoch, step) is all that a checkpoint has to keep.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Literal

import numpy as np

from jaxcnn.data.batches import steps_per_epoch
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.folder import CorruptImageError
from jaxcnn.data.pictures import BatchMaker, Made, Pictures
from jaxcnn.errors import ConfigError, DataError
from jaxcnn.typing import Batch

_AHEAD = 1 << 40  # batches that workers see before them: they never run out


class Stream:
    """Batches of pictures, read by worker processes while they are needed.

    Images are uint8: scaling belongs to the device. Training examples come in a new order each
    epoch, as random parts of 8 to 100 % of the area, half of them mirrored; for evaluation in
    stored order, cut from the middle (224/256 of the shorter side). Resizing is bilinear with
    antialiasing. The last batch of an epoch is filled up with rows of zeros that the mask leaves
    out.

    Workers start at the first batch, keep the next ones ready, go on over the end of an epoch and
    end with the `with` statement. They are new Python processes, so a script that uses them must
    start its work under `if __name__ == "__main__":`. A jump to another place than the next one
    starts them anew, which takes seconds.

    Args:
      folder: the pictures.
      size: side of the square images, in pixels.
      batch_size: rows of a batch over all `processes`.
      seed: of orders and crops. The same seed gives the same batches with the same versions of
        NumPy and Pillow.
      train: random order and crops, or fixed ones.
      workers: processes that read; 0 reads in this one.
      on_corrupt: what an unreadable picture does: "fail" raises, "skip" masks its row.
      most_corrupt: how many different pictures may be skipped.
      process, processes: this process's number and how many share each batch. It gets its own,
        consecutive, rows only, and knows only of its own corrupt pictures.

    Attributes:
      corrupt: paths of the unreadable pictures met so far.

    Raises:
      ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        folder: Pictures,
        *,
        size: int,
        batch_size: int,
        seed: int,
        train: bool,
        workers: int = 2,
        on_corrupt: Literal["fail", "skip"] = "fail",
        most_corrupt: int = 10,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        steps_per_epoch(len(folder), batch_size)  # checks batch_size
        _at_least("size", size, 1)
        _at_least("seed", seed, 0)
        _at_least("workers", workers, 0)
        _at_least("most_corrupt", most_corrupt, 0)
        _at_least("processes", processes, 1)
        if on_corrupt not in ("fail", "skip"):
            raise ConfigError(f"on_corrupt={on_corrupt!r} is unknown: use 'fail' or 'skip'.")
        if not 0 <= process < processes:
            raise ConfigError(
                f"process={process} is not allowed: expected 0 .. {processes - 1}, as there are "
                f"{processes} processes."
            )
        if batch_size % processes:
            raise ConfigError(
                f"batch_size={batch_size} is not allowed: {processes} processes share it, so "
                "use a multiple of their number."
            )
        self.corrupt: list[str] = []
        self._maker = BatchMaker(folder, size, batch_size, seed, train, process, processes)
        self._workers = workers
        self._on_corrupt = on_corrupt
        self._most_corrupt = most_corrupt
        self._ready: Any = None  # Grain's iterator
        self._number = 0  # of the batch it gives next
        self._lock = threading.Lock()  # `prefetch` draws in a thread of its own
        self._closed = False
        self._ends: list[Callable[[], None]] = []

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self._maker.steps

    @property
    def batch_size(self) -> int:
        """Rows of a batch, over all processes."""
        return self._maker.batch_size

    @property
    def processes(self) -> int:
        """How many processes share each batch."""
        return self._maker.processes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self._maker.size, self._maker.size, 3

    @property
    def name(self) -> str:
        """The folder's name, for people."""
        return self._maker.folder.name

    @property
    def source(self) -> str:
        """Where it is read from."""
        return self._maker.folder.source

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class."""
        return self._maker.folder.classes

    @property
    def fingerprint(self) -> str:
        """As that of the folder: of names and sizes, not of pixels."""
        return self._maker.folder.fingerprint

    def __len__(self) -> int:
        return len(self._maker.folder)

    def sample(self, count: int) -> Dataset:
        """Some of the pictures, in memory: evenly spaced ones, cut from the middle.

        Those that cannot be read are left out. For pictures, and to fit a preparation.

        Args:
          count: how many, at most.

        Raises:
          DataError: none of them can be read.
        """
        folder = self._maker.folder
        maker = dataclasses.replace(self._maker, train=False)
        images, labels = [], []
        for index in np.unique(np.linspace(0, len(folder) - 1, count).round().astype(np.int64)):
            with contextlib.suppress(CorruptImageError):  # `batches` names and counts them
                pixels, label = folder.example(int(index))
                images.append(maker.view(pixels, 0, 0))
                labels.append(label)
        if not images:
            raise DataError(f"{folder.source}: none of {count} pictures can be read.")
        return Dataset(
            f"{folder.name}-sample",
            np.stack(images),
            np.array(labels, np.int32),
            folder.classes,
            folder.source,
        )

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on.

        Yields:
          Arrays of the host: images [B, size, size, 3] uint8, labels [B] int32, mask [B] bool.

        Raises:
          ConfigError: epoch or start is out of range, or the stream is closed.
          CorruptImageError: a picture cannot be read and `on_corrupt` is "fail"; names it.
          DataError: more than `most_corrupt` pictures cannot be read, or a worker died.
        """
        _at_least("epoch", epoch, 0)
        if not 0 <= start <= self.steps:
            raise ConfigError(f"start={start} is not allowed: expected 0 .. {self.steps}.")
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for step in range(start, self.steps):
            made = self._make(epoch * self.steps + step)
            self._note(made.corrupt)
            # JAX takes the host's arrays wherever it takes its own.
            yield Batch(made.images, made.labels, made.mask)  # type: ignore[arg-type]

    def _make(self, number: int) -> Made:
        with self._lock:
            if self._closed:
                raise ConfigError(
                    "this stream is closed: draw its batches inside the `with` block."
                )
            if not self._workers:
                return self._maker(number)
            if not self._maker.train:  # every epoch is the same one, so workers may just go on
                number %= self.steps
                self._number %= self.steps
            try:
                return self._from_workers(number)
            except RuntimeError as error:
                self._stop()
                raise DataError(
                    f"{self._maker.folder.source}: a worker that reads pictures died: {error}\n"
                    "Too little memory or too small a /dev/shm is the usual cause: use fewer "
                    "workers."
                ) from error
            except BaseException:
                self._stop()
                raise

    def _from_workers(self, number: int) -> Made:
        if self._ready is None or self._number != number:
            self._stop()
            self._ready = _start(self._maker, number, self._workers)
        images, labels, mask, corrupt = next(self._ready)
        self._number = number + 1
        # Copies, since Grain frees the shared memory that they lie in.
        return Made(np.array(images), np.array(labels), np.array(mask), corrupt)

    def _note(self, corrupt: Iterable[tuple[str, str]]) -> None:
        for path, message in corrupt:
            if path not in self.corrupt:
                self.corrupt.append(path)
            if self._on_corrupt == "fail":
                raise CorruptImageError(message)
            if len(self.corrupt) > self._most_corrupt:
                raise DataError(
                    f"{self._maker.folder.source}: {len(self.corrupt)} pictures cannot be read, "
                    f"at most {self._most_corrupt} are allowed: {', '.join(self.corrupt[:5])}"
                    f"{', ...' if len(self.corrupt) > 5 else ''}.\nThe last one: {message}"
                )

    def _stop(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.close()

    def at_close(self, end: Callable[[], None]) -> None:
        """Has `end` called first when the stream is closed, so that threads stop drawing."""
        self._ends.append(end)

    def close(self) -> None:
        """Ends the workers and waits for them. A thread that draws a batch gets it first."""
        while self._ends:
            self._ends.pop()()
        with self._lock:
            self._closed = True
            self._stop()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclasses.dataclass(frozen=True, eq=False)
class _From:
    """The batches from a number on, as a sequence: what Grain reads from."""

    maker: BatchMaker
    first: int

    def __len__(self) -> int:
        return _AHEAD

    def __getitem__(self, index: int) -> Made:
        return self.maker(self.first + int(index))


def _start(maker: BatchMaker, number: int, workers: int) -> Any:
    """Starts processes that make the batches from `number` on, worker by worker in turn."""
    import grain
    from absl import flags

    # Grain 0.2.18 reads this flag, which nobody but an absl application has parsed, and fails.
    with contextlib.suppress(KeyError):
        flags.FLAGS["grain_enable_multiprocess_worker_profiling"].present = True
    here = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)  # an element is a whole batch
    batches = grain.MapDataset.source(_From(maker, number)).to_iter_dataset(here)
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    return iter(batches.mp_prefetch(options, worker_init_fn=_in_worker))


def _in_worker(number: int, count: int) -> None:
    """Ctrl-C is for the parent, which then ends its workers; and none outlives it."""
    del number, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r} is not allowed: expected an int of at least {least}.")
