"""What an experiment does in several processes, one on each host or device: agree, and share.

Process 0 alone prints, and reads and writes the run folder; all of them read the data. Alone,
nothing here does anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxcnn
from experiments.harness.config import BaseConfig, to_json
from experiments.harness.job import Job
from experiments.harness.resume import Opened, kept_states
from experiments.harness.screen import Screen
from jaxcnn.parallel import detect, from_main, init_distributed, is_main, on_main, require_same
from jaxcnn.run import RunFolder
from jaxcnn.train import Progress, TrainState

_OWN = ("data_dir", "out", "resume", "workers", "download")  # may differ between hosts


def number() -> int:
    """This process's number, as the launcher says, before JAX is started."""
    cluster = detect(os.environ)
    return 0 if cluster is None else cluster.process


def join(config: BaseConfig, screen: Screen) -> None:
    """Joins the processes that a launcher has started with this one, if any."""
    init_distributed(timeout=config.join_timeout, heartbeat=config.heartbeat, say=screen.say)


def check_agreement(config: BaseConfig, job: Job) -> None:
    """Raises in every process if their settings, data or versions differ."""
    settings = {name: value for name, value in to_json(config).items() if name not in _OWN}
    require_same("settings", settings)
    require_same("data", {"training": job.train.fingerprint, "test": job.test.fingerprint})
    require_same("versions", {"jaxcnn": jaxcnn.__version__, "jax": jax.__version__})


def open_run(here: Callable[[], Opened], like: TrainState) -> Opened:
    """Opens a run in process 0, and tells all where it goes on.

    Args:
      here: opens it.
      like: structure, shapes and dtypes of the train state.

    Raises:
      JaxcnnError: it could not be opened; in every process.
    """
    if jax.process_count() == 1:
        return here()
    found: list[Opened] = []

    def told() -> str:
        found.append(here())
        run, start, best, met = found[0]
        policies = None if start is None else start.policies
        return json.dumps({"path": str(run.path), "best": best, "met": met, "policies": policies})

    said = json.loads(on_main(told))
    run, policies = RunFolder(Path(said["path"])), said["policies"]
    if policies is None:
        return Opened(run, None, said["best"], said["met"])
    tree: dict[str, Any] = {"train_state": like, "kept": kept_states(policies, like)}
    if is_main():
        start = found[0].start
        assert start is not None  # noqa: S101  (for the type checker)
        tree = {"train_state": start.train_state, "kept": start.kept}
    else:
        tree = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), tree)
    tree = from_main(tree)
    progress = Progress(tree["train_state"], policies, tree["kept"])
    return Opened(run, progress, said["best"], said["met"])
