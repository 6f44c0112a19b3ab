"""One network in all libraries: start the processes, check them, time them in turns."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import networks
from benchmarks.libraries import LIBRARIES
from benchmarks.matrix import FLOPS
from benchmarks.process import Worker, WorkerError, free_memory, installed
from benchmarks.results import check_same, row_numbers, summary

TURN, LONG_TURN, LONG_STEP = 1.0, 6.0, 0.1
"""Seconds of steps that a library makes in its turn; a step of over `LONG_STEP` gets the long one,
so that several steps a call are several."""

SETTLE = 0.25
"""Seconds between turns: idle threads of the last library go to sleep first."""

SPARE = 1.5
"""Free memory that a process needs to be started, in units of the largest one's."""

Say = Callable[[str], None]


def measure(
    network_name: str, rows: list[str], rounds: int, machine: Mapping[str, Any], say: Say
) -> dict[str, Any]:
    """Times the training step of one network.

    Args:
      network_name: of `networks.NETWORKS`.
      rows: of `LIBRARIES`, in the order of the table.
      rounds: turns of each library that count; one more comes first, to warm up.
      machine: from `benchmarks.machine`.
      say: is told what happens.

    Returns:
      The network's part of the results, plain numbers and strings.

    Raises:
      BenchmarkError: libraries do not compute the same network.
    """
    network = networks.find(network_name)
    reports: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    times: dict[str, list[float]] = {}
    ends: dict[str, dict[str, Any]] = {}

    def lost(name: str, error: WorkerError) -> None:
        problems[name] = str(error)
        reports.pop(name, None)
        say(str(error))

    with contextlib.ExitStack() as running:
        workers: dict[str, Worker] = {}
        for name in ["matrix", *rows]:
            if not installed(LIBRARIES[name].package):
                problems[name] = "not installed"
                continue
            # A machine without memory left would end any process, not only ours.
            free = free_memory()
            largest = max((report["resident_bytes"] for report in reports.values()), default=0)
            if free is not None and free < SPARE * largest:
                problems[name] = f"not run: only {free / 2**30:.1f} GiB of memory left"
                say(f"{name} {problems[name]}")
                continue
            worker = Worker(["benchmarks.worker", name, network_name])
            workers[name] = running.enter_context(worker)
            try:
                report = worker.answer()
                if report["gpu"] != machine["gpu"]:
                    problems[name] = f"not run: runs on the {'GPU' if report['gpu'] else 'CPU'}"
                    worker.stop()
                    continue
                reports[name] = report
                say(f"{network_name}: {name} is ready")
            except WorkerError as error:
                lost(name, error)
        compared = {name: report for name, report in reports.items() if name != "matrix"}
        check_same(network, machine["networks"][network_name], compared, gpu=machine["gpu"])

        times = {name: [] for name in reports}
        steps = {name: _steps(report["step_seconds"]) for name, report in reports.items()}
        for number in range(rounds + 1):
            for name in list(reports):
                time.sleep(SETTLE)
                try:
                    answer = workers[name].ask(f"go {steps[name]}")
                    if not math.isfinite(answer["loss"]):
                        raise WorkerError(f"{name} {network_name}: the loss is not finite.")
                except WorkerError as error:
                    lost(name, error)
                    continue
                if number:
                    times[name].append(answer["seconds"] / steps[name])
            say(f"{network_name}: round {number} of {rounds}")
        for name in list(reports):
            try:
                ends[name] = workers[name].ask("end")
            except WorkerError as error:
                lost(name, error)

    matrix = None
    if "matrix" in reports:
        matrix = summary([FLOPS / seconds / 1e9 for seconds in times["matrix"]])
    counted = machine["networks"][network_name]
    lines = []
    for name in rows:
        line: dict[str, Any] = {"name": name, "label": LIBRARIES[name].label}
        if name in reports:
            line |= row_numbers(times[name], network.batch, counted["macs"], matrix)
            line |= {"steps_per_round": steps[name], **reports[name], **ends[name]}
        else:
            line["problem"] = problems[name]
        lines.append(line)
    return {
        "title": network.title,
        "batch": network.batch,
        "input": list(network.input),
        **counted,
        "matrix_gflops": matrix,
        "rows": lines,
    }


def _steps(step_seconds: float) -> int:
    """How many steps a library makes in its turn."""
    turn = LONG_TURN if step_seconds > LONG_STEP else TURN
    return max(1, round(turn / step_seconds))
