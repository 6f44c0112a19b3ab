"""What an experiment does in several processes, one on each host or device: agree, and share.

Process 0 alone prints, and reads and writes the run folder; all of them read the data. Alone,
nothing here does anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import jaxcnn
from experiments.config import BaseConfig, to_json
from experiments.job import Job
from experiments.screen import Screen
from jaxcnn.parallel import detect, from_main, init_distributed, is_main, on_main, require_same
from jaxcnn.train import Progress

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


def restore(read: Callable[[], Progress], like: dict[str, Any]) -> Progress:
    """Reads a checkpoint in process 0, and gives its content to all.

    Args:
      read: reads it.
      like: structure, shapes and dtypes of its arrays, {"train_state": ..., "kept": ...}.

    Raises:
      JaxcnnError: it could not be read; in every process.
    """
    if jax.process_count() == 1:
        return read()
    found: list[Progress] = []

    def here() -> str:
        found.append(read())
        return json.dumps(found[0].policies)

    policies = json.loads(on_main(here))
    tree: dict[str, Any] = {**like, "kept": dict.fromkeys(policies, like["train_state"])}
    if is_main():
        tree = {"train_state": found[0].train_state, "kept": found[0].kept}
    else:
        tree = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), tree)
    tree = from_main(tree)
    return Progress(tree["train_state"], policies, tree["kept"])
