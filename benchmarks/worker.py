"""One library and one network in a process of its own: `python -m benchmarks.worker LIB NET`.

It builds, compiles, warms up and prints one JSON line. Then it obeys lines on stdin: "go N" makes
N steps, waits for the device and answers with the seconds; "end" (or the end of the input)
reports the peak of memory and exits. Whatever libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from typing import Any

from benchmarks import networks
from benchmarks.libraries import LIBRARIES

CHECKED = 3
"""First steps whose losses are compared between libraries."""

WARM_UP = 0.3
"""Seconds of steps after which a step's time is taken to be known."""


def main(library_name: str, network_name: str) -> None:
    """Serves the protocol above."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # only answers go to the parent

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")

    library, network = LIBRARIES[library_name], networks.find(network_name)
    began = time.perf_counter()
    module = importlib.import_module(library.module)
    imported = time.perf_counter()
    if library.precision is not None:
        import jax

        jax.config.update("jax_default_matmul_precision", library.precision)
    trainer = module.make(network, **library.options)
    built = time.perf_counter()
    losses = [trainer.run(1)]
    first = time.perf_counter()
    losses += [trainer.run(1) for _ in range(CHECKED - 1)]
    steps, seconds = 1, 0.0
    while True:
        start = time.perf_counter()
        trainer.run(steps)
        seconds = time.perf_counter() - start
        if seconds > WARM_UP:
            break
        steps *= 2
    answer(
        version=module.VERSION,
        parameters=trainer.parameters,
        losses=losses,
        gpu=_on_gpu(library.package),
        resident_bytes=_peak(),
        import_seconds=imported - began,
        build_seconds=built - imported,
        first_step_seconds=first - built,
        step_seconds=seconds / steps,
    )
    for line in sys.stdin:
        order = line.split()
        if order[0] == "go":
            start = time.perf_counter()
            loss = trainer.run(int(order[1]))
            answer(seconds=time.perf_counter() - start, loss=loss)
        else:
            break
    answer(peak_bytes=_peak(), device_peak_bytes=_device_peak(library.package))


def _peak() -> int:
    """Most memory that this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _on_gpu(package: str) -> bool:
    """Whether the library's default device is a GPU."""
    if package == "torch":
        return bool(sys.modules["torch"].cuda.is_available())
    return bool(sys.modules["jax"].default_backend() == "gpu")


def _device_peak(package: str) -> int | None:
    """Peak of the memory of a GPU, from the library that used it; None on CPU."""
    if not _on_gpu(package):
        return None
    if package == "torch":
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    return int(sys.modules["jax"].devices()[0].memory_stats()["peak_bytes_in_use"])


if __name__ == "__main__":
    main(*sys.argv[1:])
