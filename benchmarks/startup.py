"""What a program pays before and around its steps: imports, compilation, dispatch, data.

Each part runs in fresh processes:
`python -m benchmarks.startup compile | dispatch LIBRARY | data | epoch` prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

from benchmarks import networks
from benchmarks.libraries import LIBRARIES
from benchmarks.process import WorkerError, run_code, run_json
from benchmarks.results import summary

FRESH = 7
"""Processes of each kind whose imports are timed."""

CALLS = 2_000
"""Calls whose mean is the time of one dispatched step; repeated, the median counts."""


def measure_startup(say: Any) -> dict[str, Any]:
    """All parts; one that fails is reported by name and leaves a "problem"."""
    found: dict[str, Any] = {}

    def attempt(name: str, part: Any) -> None:
        say(f"start-up: {name}")
        try:
            found[name] = part()
        except WorkerError as error:
            say(str(error))
            found[name] = {"problem": str(error)}

    attempt("import", _imports)
    attempt("compile", _compile)
    for library in ("jaxcnn_single", "plain"):
        attempt(
            f"dispatch_{library}",
            lambda library=library: run_json(["benchmarks.startup", "dispatch", library]),
        )
    if os.environ.get("DATA_DIR"):
        attempt("mnist", _data)
        attempt("epoch", _epoch)
    else:
        missing = {"problem": "not run: DATA_DIR is not set"}
        found |= {"mnist": missing, "epoch": missing}
    return found


def _imports() -> dict[str, Any]:
    """Seconds of whole processes, the two kinds alternating."""
    times: dict[str, list[float]] = {"jaxcnn": [], "jax, optax": []}
    for _ in range(FRESH + 1):  # the first pair fills the cache of files
        for modules, values in times.items():
            began = time.perf_counter()
            run_code(f"import {modules}")
            values.append(time.perf_counter() - began)
    return {name: summary(values[1:]) for name, values in times.items()}


def _compile() -> dict[str, Any]:
    """Seconds until LeNet-5's step is ready: with an empty cache, then from the full one."""
    with tempfile.TemporaryDirectory(prefix="jaxcnn-bench-") as folder:
        changes = {"JAX_COMPILATION_CACHE_DIR": folder}
        return {
            name: run_json(["benchmarks.startup", "compile"], changes)
            for name in ("cold", "cached")
        }


def _data() -> Any:
    """Seconds from MNIST in jaxcnn's cache to the device; the first process fills the cache."""
    run_json(["benchmarks.startup", "data"])
    return run_json(["benchmarks.startup", "data"])


def _epoch() -> dict[str, Any]:
    """Seconds from the start of a process to LeNet-5 trained for an epoch, caches filled."""
    with tempfile.TemporaryDirectory(prefix="jaxcnn-bench-") as folder:
        times = []
        for _ in range(FRESH + 1):  # the first process fills the caches
            began = time.time()
            changes = {"JAX_COMPILATION_CACHE_DIR": folder}
            times.append(run_json(["benchmarks.startup", "epoch"], changes)["ended"] - began)
    return summary(times[1:])


def time_compile() -> dict[str, float]:
    """Seconds of tracing and of compiling `fit`'s program for LeNet-5."""
    import jax
    import numpy as np

    from benchmarks import ours
    from jaxcnn.compilation import use_compile_cache
    from jaxcnn.typing import Batch

    if use_compile_cache() is None:
        raise WorkerError("the compilation cache cannot be used in its new folder.")
    network = networks.find("lenet")
    key = jax.random.key(0)
    arguments = (
        ours.train_state(network),
        Batch(*jax.device_put(networks.batch(network))),
        key,
        np.int32(1),
    )
    began = time.perf_counter()
    lowered = jax.jit(ours.several_steps(network), donate_argnums=0).lower(*arguments)
    traced = time.perf_counter()
    lowered.compile()
    return {"trace": traced - began, "compile": time.perf_counter() - traced}


def time_dispatch(library: str) -> dict[str, Any]:
    """Microseconds of a step so small that they are Python's and the runtime's."""
    import importlib

    row = LIBRARIES[library]
    trainer = importlib.import_module(row.module).make(networks.TINY, **row.options)
    trainer.run(CALLS)
    times = []
    for _ in range(FRESH):
        began = time.perf_counter()
        trainer.run(CALLS)
        times.append(1e6 * (time.perf_counter() - began) / CALLS)
    return summary(times)


def time_data() -> dict[str, float]:
    """Seconds of `data.load("mnist")` and of the transfer of all its training images."""
    import jax

    from jaxcnn import data

    jax.devices()  # started before the clock
    began = time.perf_counter()
    splits = data.load("mnist", data_dir=os.environ["DATA_DIR"])
    read = time.perf_counter()
    jax.block_until_ready(jax.device_put((splits.train.images, splits.train.labels)))
    return {"read": read - began, "to_device": time.perf_counter() - read}


def train_epoch() -> dict[str, float]:
    """Trains LeNet-5 on MNIST's 60,000 images once; returns when it was done, by the wall clock."""
    import jax

    from jaxcnn import data, losses, models, optim, train
    from jaxcnn.compilation import use_compile_cache

    if use_compile_cache() is None:
        raise WorkerError("the compilation cache cannot be used in its new folder.")
    trained = train.fit(
        models.lenet5(),
        data.load("mnist", data_dir=os.environ["DATA_DIR"]).train,
        loss=losses.softmax_cross_entropy,
        optimizer=optim.optimizer("momentum", networks.RATE, momentum=networks.MOMENTUM),
        epochs=1,
        batch_size=networks.find("lenet").batch,
        seed=0,
        prepare=data.Scale(),
    )
    jax.block_until_ready(trained.train_state)
    return {"ended": time.time(), "accuracy": trained.history[-1]["accuracy"], **trained.seconds}


def main(arguments: list[str]) -> None:
    """Prints the JSON line of one part."""
    match arguments:
        case ["compile"]:
            print(json.dumps(time_compile()))
        case ["dispatch", library]:
            print(json.dumps(time_dispatch(library)))
        case ["data"]:
            print(json.dumps(time_data()))
        case ["epoch"]:
            print(json.dumps(train_epoch()))
        case _:
            raise SystemExit(f"unknown part {' '.join(arguments)!r}: see the module's docstring.")


if __name__ == "__main__":
    main(sys.argv[1:])
