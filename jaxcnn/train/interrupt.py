"""Ctrl-C and SIGTERM as a question that the training loop asks after each step."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TIME_IS_UP = 124
"""Exit status after a time limit, as of the command `timeout`."""


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
def stop_on_signals() -> Iterator[StopRequest]:
    """Within it, the first SIGINT or SIGTERM sets the request, a second ends at once.

    The previous handlers come back afterwards. Outside the main thread, where Python allows
    no handlers, the request simply stays false.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if request.signal is not None:
            raise KeyboardInterrupt
        request.signal = number

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
