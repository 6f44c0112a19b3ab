"""Makes the Nth call that changes the disk go wrong."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jaxcnn import disk

KINDS = ("EIO", "EIO from then on", "ENOSPC", "EINTR", "short", "short, then full")
"""What can go wrong. A short write is no error: the rest has to be written by another call."""


class Faults:
    """Counts the calls; the `at`th, counted from 1, goes wrong. With at=0 none does."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at = kind, at
        self.calls: list[str] = []

    def call(self, name: str, real: Any, arguments: tuple[Any, ...]) -> Any:
        """Makes the call, or not."""
        self.calls.append(name)
        now = len(self.calls)
        if not self.at or now < self.at or (now > self.at and "then" not in self.kind):
            return real(*arguments)
        code = self.kind.replace(",", "").split()[0]
        if code == "short":
            if now == self.at:
                half = arguments[1][: len(arguments[1]) // 2] if name == "write" else None
                return real(*arguments) if half is None else real(arguments[0], half)
            if name == "write":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments)
        if code == "death":
            os._exit(9)
        if code == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "close":
            real(*arguments)  # whatever close says, the file is closed
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))


@contextmanager
def installed(counter: Faults) -> Iterator[Faults]:
    """Within it, all calls go through `counter`."""
    real = {name: getattr(disk, name) for name in disk.CALLS}

    def wrapped(name: str) -> Any:
        return lambda *arguments: counter.call(name, real[name], arguments)

    try:
        for name in disk.CALLS:
            setattr(disk, name, wrapped(name))
        yield counter
    finally:
        for name, function in real.items():
            setattr(disk, name, function)
