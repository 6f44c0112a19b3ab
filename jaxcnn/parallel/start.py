"""Joining the processes of many hosts into one JAX program.

Every host runs the same program. `init_distributed` makes them find each other, after which
`jax.devices()` lists the devices of all hosts, in the same order everywhere, and every
process has to run the same computations in the same order.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxcnn.errors import ConfigError, JaxcnnError
from jaxcnn.parallel.cluster import (
    COORDINATOR,
    PROCESS,
    PROCESSES,
    Cluster,
    detect,
    device_share,
    split_address,
)

_HOST_BYTES = 64  # the longest host name of Linux
_RETRY = 0.25  # seconds between two calls to a coordinator that does not answer yet
_GRACE = 60  # seconds by which JAX's own limit, at which it aborts, comes after ours


def _print(text: str) -> None:
    """Prints text and its newline in one write, at once.

    `print` makes several where Python's output is not buffered (PYTHONUNBUFFERED), and on CPUs
    JAX's own lines, which start with [Gloo], may come between them.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class ClusterError(JaxcnnError, RuntimeError):
    """Processes that could not find each other, or that do not arrive where others wait."""


def init_distributed(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    local_devices: Sequence[int] | None = None,
    timeout: float = 120,
    heartbeat: int = 30,
    say: Callable[[str], object] = _print,
) -> None:
    """Joins this process with the others; process 0 prints who they are.

    Call it before anything that starts JAX's devices, and before `stop_on_signals`: from
    here on JAX handles SIGTERM itself, unless a handler is set later. The place of this
    process comes from the arguments, else from what `detect` reads in the environment. Where
    there is only one process, nothing is done.

    What happens when a process dies is JAX's doing: the others are aborted (exit status 134)
    with a message on stderr that names it, `heartbeat` seconds later, or at once if it was
    process 0. A process that ends by itself, after an exception too, waits for the others to
    end, `timeout` seconds at most.

    Args:
      coordinator: "HOST:PORT" of process 0.
      processes: how many processes there are.
      process: the number of this one, from 0.
      local_devices: positions of the GPUs that this process uses; by default its share of
        those it sees (see `device_share`).
      timeout: seconds until all processes must have arrived.
      heartbeat: seconds of silence after which a process counts as dead.
      say: takes a text of one or more lines; prints it by default. Called in process 0 only.

    Raises:
      ConfigError: arguments or variables are missing, wrong or contradict each other.
      ClusterError: JAX has been used already, this was called before, the coordinator's port
        is taken, it cannot be reached, or not all processes arrive in time. The process
        should then end: JAX aborts it a minute later.
    """
    if jax.distributed.is_initialized():
        raise ClusterError(
            "init_distributed: this process has joined the others already, or has tried to.\n"
            "Call it once, at the start of the program, and do not call "
            "jax.distributed.initialize yourself."
        )
    if timeout <= 0 or heartbeat < 1:
        raise ConfigError(
            f"init_distributed: timeout={timeout} and heartbeat={heartbeat} are seconds: the "
            "first must be above 0, the second at least 1.\nThe defaults are 120 and 30."
        )
    environ = {**os.environ, **_as_variables(coordinator, processes, process)}
    cluster = detect(environ)
    if cluster is None or cluster.processes == 1:
        return
    if local_devices is None:
        local_devices = device_share(cluster, environ)
    deadline = time.monotonic() + timeout
    if cluster.process == 0:
        _check_port(cluster)
    else:
        _wait_for_coordinator(cluster, deadline, timeout)
    _join(cluster, local_devices, deadline, timeout, heartbeat)
    if is_main():
        say(f"{cluster.processes} processes have joined at {cluster.coordinator}.")
    table = _table(cluster)
    if is_main():
        say(table)


def is_main() -> bool:
    """Whether this is process 0, which alone prints and writes files.

    Call it after `init_distributed`, since it starts the devices.
    """
    return jax.process_index() == 0


def barrier(name: str, *, timeout: float = 300) -> None:
    """Waits until all processes have come to the barrier `name`.

    It waits for processes, not for their devices: block on the arrays first if that matters.
    With one process it returns at once.

    Args:
      name: the same in all processes; it may be used again.
      timeout: seconds to wait.

    Raises:
      ClusterError: some process did not come in time.
    """
    if not jax.distributed.is_initialized():
        return
    # `multihost_utils.sync_global_devices` is public, but waits for ever if a process is stuck.
    from jax._src import distributed

    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier(name, max(1, round(1000 * timeout)))
    except jax.errors.JaxRuntimeError as error:
        raise ClusterError(
            f"barrier {name!r}: process {jax.process_index()} of {jax.process_count()} waited "
            f"{timeout:g} s, and not all others came.\nSee their output: one of them has ended, "
            f"is stuck, or took another branch. JAX says: {error}"
        ) from error


def _as_variables(
    coordinator: str | None, processes: int | None, process: int | None
) -> dict[str, str]:
    """Arguments in the form of our variables, over which they win one by one."""
    given = {COORDINATOR: coordinator, PROCESSES: processes, PROCESS: process}
    return {name: str(value) for name, value in given.items() if value is not None}


def _check_port(cluster: Cluster) -> None:
    """Raises if another program listens on the coordinator's port of this host.

    JAX does not notice another JAX job there: its server shares the port, and the processes
    of both jobs then arrive at one or the other.
    """
    if os.environ.get("JAX_COORDINATOR_BIND_ADDRESS"):
        return  # JAX listens there instead
    _, port = split_address(cluster.coordinator)
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise ClusterError(
            f"process 0 cannot listen on port {port} of {socket.gethostname()} (coordinator "
            f"{cluster.coordinator}): {error.strerror}.\nIt is in use, perhaps by another job or "
            "by a process left over from an earlier one. End that, or choose another port: "
            f"{COORDINATOR}=HOST:PORT."
        ) from error


def _wait_for_coordinator(cluster: Cluster, deadline: float, timeout: float) -> None:
    """Returns when the coordinator accepts a connection.

    JAX would do this itself, but at its time-out it aborts the process with a stack trace of
    C++ code, which names no address and cannot be caught.
    """
    reason: object = "no attempt was made"
    attempts = 0
    while (left := deadline - time.monotonic()) > 0:
        attempts += 1
        try:
            socket.create_connection(
                split_address(cluster.coordinator), timeout=min(left, 5)
            ).close()
            return
        except OSError as error:
            reason = error
        time.sleep(min(_RETRY, max(deadline - time.monotonic(), 0)))
    raise ClusterError(
        f"process {cluster.process} of {cluster.processes} on {socket.gethostname()} could not "
        f"reach the coordinator {cluster.coordinator} (from {cluster.source}) within "
        f"{timeout:g} s.\nIt called {attempts} times; the last answer was: {reason}.\n"
        "Likely causes: process 0 has not started or has failed (see its output); the host is "
        "not the one on which it runs; a firewall closes the port between the hosts; the name "
        f"means another address here. Set {COORDINATOR}=HOST:PORT in all processes to choose."
    )


def _join(
    cluster: Cluster,
    local_devices: Sequence[int] | None,
    deadline: float,
    timeout: float,
    heartbeat: int,
) -> None:
    """Starts JAX's distributed system, in a thread, so that the wait for it can end.

    `initialize` waits in C++ until all processes have arrived. Neither an exception nor
    Ctrl-C gets through to that, and when its own time is over it aborts the process.
    """
    done: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    left = max(deadline - time.monotonic(), 1)

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator_address=cluster.coordinator,
                num_processes=cluster.processes,
                process_id=cluster.process,
                local_device_ids=None if local_devices is None else list(local_devices),
                cluster_detection_method="deactivate",  # else it would ask for missing devices
                initialization_timeout=round(left) + _GRACE,
                heartbeat_timeout_seconds=heartbeat,
                shutdown_timeout_seconds=max(1, round(timeout)),
            )
        except Exception as error:
            done.put(error)
        else:
            done.put(None)

    threading.Thread(target=initialize, name="join the others", daemon=True).start()
    try:
        error = done.get(timeout=left)
    except queue.Empty:
        raise ClusterError(_incomplete(cluster, timeout)) from None
    if error is None:
        return
    if "must be called before" in str(error):
        raise ClusterError(
            "init_distributed: JAX has started its devices in this process already, so it cannot "
            "join others.\nCall it before any computation, jax.devices(), jax.random.key and the "
            "like, also those at the top level of imported modules."
        ) from error
    raise ClusterError(
        f"process {cluster.process} of {cluster.processes} (coordinator {cluster.coordinator}): "
        f"JAX could not join the others: {error}\nSee the output of the other processes."
    ) from error


def _incomplete(cluster: Cluster, timeout: float) -> str:
    proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy")]
    proxy = f" {' and '.join(proxies)} is set here: unset it or list the hosts in no_proxy."
    return (
        f"process {cluster.process} of {cluster.processes} on {socket.gethostname()}: not all "
        f"{cluster.processes} processes arrived at the coordinator {cluster.coordinator} (from "
        f"{cluster.source}) within {timeout:g} s.\n"
        "Likely causes: a process has not started, has failed or cannot reach the coordinator "
        "(see their output); fewer were started than were announced; two have the same number; a "
        "proxy is in the way."
        f"{proxy if proxies else ''} Raise `timeout` if the hosts start slowly."
    )


def _table(cluster: Cluster) -> str:
    """Who takes part: a line for each process. All processes have to call it."""
    name = np.zeros(_HOST_BYTES, np.uint8)
    ours = socket.gethostname().encode()[:_HOST_BYTES]
    name[: len(ours)] = np.frombuffer(ours, np.uint8)
    names = np.asarray(multihost_utils.process_allgather(name))  # [processes, _HOST_BYTES]
    rows = [("process", "host", "devices")]
    for process in range(cluster.processes):
        devices = [device for device in jax.devices() if device.process_index == process]
        kinds = ", ".join(sorted({device.device_kind for device in devices}))
        host = names[process].tobytes().rstrip(b"\0").decode(errors="replace")
        rows.append((str(process), host, f"{len(devices)} x {kinds}"))
    wide = max(len(host) for _, host, _ in rows)
    lines = [f"{process:>7}  {host:<{wide}}  {devices}" for process, host, devices in rows]
    count = len(jax.devices())
    return "\n".join([*lines, f"{count} devices in {cluster.processes} processes"])
