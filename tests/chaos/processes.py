"""Real processes that train, and what is left of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.run import RunFolder

ROOT = Path(__file__).parent.parent.parent


def start(module: str, *flags: object) -> subprocess.Popen[str]:
    """Starts an experiment in a process of its own, on one device."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(module: str, *flags: object) -> tuple[int, str, float]:
    """Waits for it: exit status, screen, seconds."""
    began = time.perf_counter()
    process = start(module, *flags)
    screen, _ = process.communicate(timeout=300)
    return process.returncode, screen, time.perf_counter() - began


def kill_after(seconds: float, module: str, *flags: object) -> bool:
    """Starts it and kills it (SIGKILL) after so long; whether it was still at work."""
    process = start(module, *flags)
    try:
        screen, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, screen
    return False


def only_run(out: Path, experiment: str) -> RunFolder:
    """The single run of an experiment below `out`; hidden folders do not count."""
    (run,) = RunFolder.list_runs(out, experiment)
    return run


def arrays(run: RunFolder) -> dict[str, tuple[str, bytes]]:
    """Every array of the newest checkpoint: parameters, statistics, optimizer, what is kept."""
    with np.load(run.latest_checkpoint() / "arrays.npz") as loaded:
        return {name: (str(loaded[name].dtype), loaded[name].tobytes()) for name in loaded.files}


def story(run: RunFolder) -> list[dict[str, Any]]:
    """The log without the times: what has to be the same, line by line."""
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def leftovers(run: RunFolder) -> list[str]:
    """Temporaries in the run folder."""
    return sorted(path.name for path in run.path.rglob(".*"))
