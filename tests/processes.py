"""Starting real processes that meet on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

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
    try:  # collectives of processes on CPU listen at the address of the host's name
        own = socket.getaddrinfo(socket.gethostname(), 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(own[0], socket.SOCK_STREAM) as listener:
            listener.bind(own[4])
    except OSError as error:
        pytest.skip(f"{socket.gethostname()} is not the name of this machine: {error}")
    return f"127.0.0.1:{address[1]}"


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
