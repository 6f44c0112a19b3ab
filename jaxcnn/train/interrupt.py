"""Ctrl-C and SIGTERM as a question that the training loop asks after each call."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TIME_IS_UP = 124
"""Exit status after a time limit, as of the command `timeout`."""

GRACE = 0.5
"""Seconds that the process has to leave by itself after a second signal."""


class StopRequest:
    """Becomes true once the process was asked to stop, or once its time is up."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deadline = math.inf

    def limit(self, minutes: float) -> None:
        """Asks for a stop in so many minutes from now."""
        self._deadline = time.monotonic() + 60 * minutes

    @property
    def status(self) -> int:
        """The exit status that says why: 128 + the signal's number, or `TIME_IS_UP`."""
        return TIME_IS_UP if self.signal is None else 128 + self.signal

    def __call__(self) -> bool:
        return self.signal is not None or time.monotonic() > self._deadline


@contextmanager
def stop_on_signals(last: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Within it, the first SIGINT or SIGTERM sets the request, a second ends the process.

    The second raises `KeyboardInterrupt` with the signal's number. Where the main thread cannot
    take it within `GRACE`, because it is inside a compiled program, the process ends there, with
    status 128 + the number. Files are written so that this damages none.

    Args:
      last: called before the process is ended so, to leave the terminal in order.

    The previous handlers come back afterwards. Outside the main thread, where Python allows
    no handlers, the request simply stays false.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if request.signal is not None:
            raise KeyboardInterrupt(number)
        request.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    over = threading.Event()
    arrivals, arrived = os.pipe()  # Python writes each signal's number into it at once
    os.set_blocking(arrived, False)
    watcher = threading.Thread(target=_watch, args=(arrivals, over, last), daemon=True)
    watcher.start()
    previous_pipe = signal.set_wakeup_fd(arrived, warn_on_full_buffer=False)
    previous = {n: signal.signal(n, handle) for n in _STOPPING}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_pipe)
        over.set()
        os.write(arrived, b"\0")  # no signal: ends the watcher
        watcher.join()
        os.close(arrived)
        os.close(arrivals)


_STOPPING = (signal.SIGINT, signal.SIGTERM)


def _watch(arrivals: int, over: threading.Event, last: Callable[[], None]) -> None:
    """Ends the process some time after the second signal, unless it is on its way out."""
    seen = 0
    while not over.is_set():
        for number in os.read(arrivals, 64):
            seen += number in _STOPPING
            if seen >= 2 and not over.wait(GRACE):
                last()
                os._exit(128 + number)
