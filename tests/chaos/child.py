"""Limits and figures of a process that reads bad files. Linux only."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

_MIB = 1 << 20
SPARE = 64 * _MIB


def status(name: str) -> int:
    """A figure of this process in bytes: VmSize, VmRSS or VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name} in /proc/self/status")


@contextlib.contextmanager
def limited(honest: int) -> Iterator[None]:
    """Leaves this process address space for twice `honest` bytes and 64 MiB more."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + 2 * honest + SPARE, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


class Peak:
    """The largest resident memory since it was made, over that at its start."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        self._start = status("VmRSS")

    def bytes(self) -> int:
        return max(0, status("VmHWM") - self._start)
