"""Starting real processes that meet on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SECONDS = 150  # for everything that a test waits for


def free_address() -> str:
    """An address to meet at. Skips the test where the machine has no way to itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        try:
            socket.create_connection(address, timeout=2).close()
        except OSError as error:  # as under `unshare -n`, where the loopback device is down
            pytest.skip(f"processes cannot meet on this machine: {error}")
        return f"127.0.0.1:{address[1]}"


def meeting() -> str:
    """`free_address` for processes with CPU devices, which exchange data by the host's name.

    Skips the test where that is not the name of this machine.
    """
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not any(_is_own(family, address) for family, *_, address in found):
        pytest.skip(f"{name!r} is not the name of this machine")
    return free_address()


def _is_own(family: int, address: tuple[Any, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        try:
            listener.bind(address)
        except OSError:
            return False
    return True


def start(
    arguments: list[str],
    variables: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """A Python process with two CPU devices."""
    environ = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2", **(variables or {})}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        cwd=ROOT,
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def member(address: str, process: int, processes: int = 2) -> dict[str, str]:
    """The variables that make a process one of several."""
    return {
        "JAXCNN_COORDINATOR": address,
        "JAXCNN_PROCESSES": str(processes),
        "JAXCNN_PROCESS": str(process),
    }


def finish(workers: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Status, output and errors of every process; none outlives the test."""
    try:
        ended = []
        for worker in workers:
            out, err = worker.communicate(timeout=SECONDS)
            ended.append((worker.returncode, out, err))
        return ended
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
