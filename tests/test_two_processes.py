"""Two real processes with two CPU devices each, which meet on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess

import pytest

from tests.processes import finish, meeting, start

START = """
import sys
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxcnn.parallel import barrier, init_distributed, is_main

address, process, timeout, heartbeat = sys.argv[1], *map(int, sys.argv[2:])
place = (address, 2, process) if address else ()
init_distributed(*place, timeout=timeout, heartbeat=heartbeat)
mesh = jax.make_mesh((4,), ("data",))
mine = np.float32([1, 10]) * 100**process
x = jax.make_array_from_process_local_data(NamedSharding(mesh, P("data")), mine)
total = jax.jit(lambda x: x.sum(), out_shardings=NamedSharding(mesh, P()))
"""

SUM = """
print(f"process {process}: {len(jax.devices())} devices, sum {float(total(x))}", flush=True)
barrier("summed", timeout=60)
barrier("summed", timeout=60)  # a name may be used again
print("main" if is_main() else "other", flush=True)
"""

LONELY_BARRIER = """
if is_main():
    try:
        barrier("meeting", timeout=1)
    except Exception as error:
        print(f"{type(error).__name__} {error}", flush=True)
barrier("end", timeout=60)
"""

FOR_EVER = """
float(total(x))
print("stepping", flush=True)
while True:
    float(total(x))
"""


def launch(
    body: str,
    address: str,
    process: int,
    *,
    timeout: int = 60,
    heartbeat: int = 60,
    variables: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    arguments = [address, str(process), str(timeout), str(heartbeat)]
    return start(["-c", START + body, *arguments], variables, stdout)


def test_two_processes_sum_over_all_devices():
    address = meeting()
    # A socket of this kind keeps every write apart, and so shows what else could come between.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            unbuffered = {"PYTHONUNBUFFERED": "1"}
            first = launch(SUM, address, 0, variables=unbuffered, stdout=theirs.fileno())
        (_, _, error), (_, second, other_error) = ended = finish([first, launch(SUM, address, 1)])
        assert [status for status, _, _ in ended] == [0, 0], error + other_error
        ours.settimeout(10)
        writes = list(iter(lambda: ours.recv(4096).decode(), ""))
    assert any("process 0: 4 devices, sum 1111.0" in text for text in writes)
    assert "process 1: 4 devices, sum 1111.0" in second
    assert any(text.startswith("main") for text in writes)
    assert "other" in second
    # Whole in one write: JAX's own lines would else come between the last one and its end.
    assert f"2 processes have joined at {address}.\n" in writes
    [table] = [text for text in writes if "devices in" in text]
    head, *rows, last = table.splitlines(keepends=True)
    assert head.split() == ["process", "host", "devices"]
    assert [row.split() for row in rows] == [
        [str(process), socket.gethostname(), "2", "x", "cpu"] for process in (0, 1)
    ]
    assert last == "4 devices in 2 processes\n"
    assert "devices in" not in second
    assert "joined" not in second


@pytest.mark.slow
def test_variables_of_a_launcher_are_enough():
    """Those that `mpirun` of Open MPI 5 sets on one host."""
    workers = []
    for process in ("0", "1"):
        variables = {
            "PRTE_LAUNCHED": "1",
            "PMIX_NAMESPACE": f"prterun-here-{os.getpid()}@1",
            "OMPI_COMM_WORLD_SIZE": "2",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            "OMPI_COMM_WORLD_RANK": process,
            "OMPI_COMM_WORLD_LOCAL_RANK": process,
        }
        workers.append(launch(SUM, "", int(process), variables=variables))
    for status, out, err in finish(workers):
        assert status == 0, err
        assert "4 devices, sum 1111.0" in out


@pytest.mark.slow
def test_a_barrier_that_others_do_not_reach():
    address = meeting()
    ended = finish([launch(LONELY_BARRIER, address, process) for process in (0, 1)])
    assert [status for status, _, _ in ended] == [0, 0], ended
    out = ended[0][1]
    assert "ClusterError barrier 'meeting': process 0 of 2 waited 1 s, and not all others" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "by"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)]
)
def test_when_a_process_is_killed_or_frozen_the_other_ends_with_a_message(victim, by):
    address = meeting()
    workers = [launch(FOR_EVER, address, process, heartbeat=10) for process in (0, 1)]
    try:
        for worker in workers:
            assert any("stepping" in line for line in worker.stdout), "it has not started"
        workers[victim].send_signal(by)
        # Ten seconds of silence, and as many until JAX has told the process and ended it.
        _, err = workers[1 - victim].communicate(timeout=60)
        assert workers[1 - victim].returncode in (-signal.SIGABRT, 1)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert "another task died" in err or "Connection closed by peer" in err
    if victim == 1:
        assert re.search(r"tasks are unhealthy \(stopped sending heartbeats\):\n1\n", err)


@pytest.mark.slow
def test_a_coordinator_that_does_not_exist():
    address = meeting()
    [(status, _, err)] = finish([launch(SUM, address, 1, timeout=3)])
    assert status == 1
    assert f"could not reach the coordinator {address} (from JAXCNN variables) within 3 s" in err
    assert "Connection refused" in err


@pytest.mark.slow
def test_others_that_do_not_come():
    address = meeting()
    [(status, _, err)] = finish([launch(SUM, address, 0, timeout=3)])
    assert status == 1
    assert f"not all 2 processes arrived at the coordinator {address}" in err
    assert "Terminating process" not in err  # JAX's abort, which cannot be caught
