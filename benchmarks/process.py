"""The parent's end of `benchmarks.worker`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxcnn.errors import JaxcnnError

ROOT = Path(__file__).parent.parent
LAST_LINES = 12
"""Lines of a crashed process that are shown."""


class WorkerError(JaxcnnError):
    """A process that crashed, hung or answered nonsense."""


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of measured processes.

    The compilation cache is off, or compile times would depend on earlier runs; on a GPU, JAX
    takes memory as it needs it, since several processes share the device.
    """
    kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    kept.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return kept | dict(changes or {})


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def free_memory(meminfo: str = "/proc/meminfo") -> int | None:
    """Bytes that can be had without swapping, or None where the system does not say."""
    path = Path(meminfo)
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def run_json(
    arguments: list[str], changes: Mapping[str, str] | None = None, limit: float = 900
) -> Any:
    """Runs `python -m arguments` and returns what the last line of its output says, as JSON.

    Raises:
      WorkerError: it failed or took too long; shows its last lines.
    """
    output = _run(" ".join(arguments), ["-m", *arguments], changes, limit)
    return json.loads(output.splitlines()[-1])


def run_code(code: str, limit: float = 900) -> None:
    """Runs `python -c code`. Raises WorkerError as `run_json`."""
    _run(code, ["-c", code], None, limit)


def _run(name: str, arguments: list[str], changes: Mapping[str, str] | None, limit: float) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (our own modules)
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment(changes),
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{name} took longer than {limit:.0f} s.") from error
    if done.returncode:
        raise WorkerError(_crashed(name, done.returncode, done.stderr))
    return done.stdout


class Worker:
    """A running `benchmarks.worker`. Use it in a `with` block: it never outlives that.

    Args:
      arguments: of `python -m`, such as ["benchmarks.worker", "plain", "lenet"].
      limit: seconds that an answer may take.
    """

    def __init__(self, arguments: list[str], limit: float = 900) -> None:
        self.name = " ".join(arguments[1:])
        self._limit = limit
        self._unread = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `stop`)
        self._process = subprocess.Popen(  # noqa: S603  (our own module)
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    def ask(self, order: str) -> dict[str, Any]:
        """Sends a line and returns the answer. Raises WorkerError as `answer`."""
        assert self._process.stdin is not None  # noqa: S101  (a pipe)
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Waits for the next line.

        Raises:
          WorkerError: the process crashed (its last lines are shown) or does not answer.
        """
        assert self._process.stdout is not None  # noqa: S101  (a pipe)
        handle = self._process.stdout.fileno()
        until = time.monotonic() + self._limit
        while b"\n" not in self._unread:
            ready, _, _ = select.select([handle], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise WorkerError(f"{self.name} did not answer within {self._limit:.0f} s.")
            read = os.read(handle, 65536)
            if not read:
                raise WorkerError(_crashed(self.name, self._process.wait(), self._last_errors()))
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not read is lost
                    pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _last_errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def _crashed(name: str, status: int, errors: str) -> str:
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    if status == -9:
        how += " (out of memory?)"
    lines = errors.rstrip().splitlines()[-LAST_LINES:]
    return "\n".join([f"{name} {how}. Its last lines:", *(f"  {line}" for line in lines)])
