"""Copying batches to the device ahead of time, and telling whether it had to wait for them."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Batch

T = TypeVar("T")
U = TypeVar("U")

_INPUT_BOUND = 0.2  # share of the time spent waiting above which reading is what to improve


def prefetch(
    batches: Iterable[T], put: Callable[[T], U], depth: int = 2
) -> Generator[U, None, None]:
    """Keeps `depth` batches on the device ahead of the one in use.

    One thread draws from `batches` and calls `put` on each. What either raises comes out here,
    after the batches before it. The thread ends, and `batches` is closed, with this generator.

    Args:
      batches: such as `Stream.batches(epoch)`.
      put: such as `jax.device_put`.
      depth: how many to keep ahead.

    Raises:
      ConfigError: depth is below 1.

    >>> list(prefetch([1, 2, 3], lambda batch: 10 * batch))
    [10, 20, 30]
    """
    if not isinstance(depth, int) or depth < 1:
        raise ConfigError(f"depth={depth!r} is not allowed: expected an int of at least 1.")
    return _prefetched(batches, put, depth)


@dataclasses.dataclass(frozen=True)
class _End:
    """The last thing that the thread hands over."""

    error: BaseException | None


def _prefetched(
    batches: Iterable[T], put: Callable[[T], U], depth: int
) -> Generator[U, None, None]:
    room = threading.Semaphore(depth)
    ready: queue.SimpleQueue[U | _End] = queue.SimpleQueue()
    stopped = threading.Event()

    def draw() -> None:
        source = iter(batches)
        try:
            while room.acquire() and not stopped.is_set():
                try:
                    batch = next(source)
                except StopIteration:
                    return
                ready.put(put(batch))
        finally:
            if isinstance(source, Generator):
                source.close()

    def work() -> None:
        try:
            draw()
        except BaseException as error:  # raised where the consumer can see it
            ready.put(_End(error))
        else:
            ready.put(_End(None))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        room.release()
        thread.join()


class Throughput:
    """Counts images and where the time goes: into waiting for batches, or into using them.

    JAX returns before the device is done. The time of the device counts as use only if the
    consumer waits for its results now and then, as a loop does that logs its loss.

    Args:
      clock: seconds, as `time.perf_counter` tells them.

    Attributes:
      images: rows of the batches so far, those that fill up a last batch included.
      waited: seconds spent waiting for batches.
      used: seconds between getting a batch and asking for the next.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.images = 0
        self.waited = 0.0
        self.used = 0.0
        self._clock = clock

    def measure(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Passes batches on and counts. May be called again: counts add up over epochs."""
        source = iter(batches)
        before = self._clock()
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            finally:
                got = self._clock()
                self.waited += got - before
            self.images += batch.labels.shape[0]
            try:
                yield batch
            finally:
                before = self._clock()
                self.used += before - got

    @property
    def share_waited(self) -> float:
        """Seconds waited over all seconds; 0 before the first batch."""
        total = self.waited + self.used
        return self.waited / total if total else 0.0

    @property
    def input_bound(self) -> bool:
        """Whether more than a fifth of the time is waiting: then more workers may help."""
        return self.share_waited > _INPUT_BOUND

    def summary(self) -> str:
        """One line for a log."""
        total = self.waited + self.used
        rate = self.images / total if total else 0.0
        bound = ", input-bound" if self.input_bound else ""
        return (
            f"{self.images} images in {total:.1f} s ({rate:.0f} images/s), "
            f"{100 * self.share_waited:.0f} % of it waiting for input{bound}"
        )
