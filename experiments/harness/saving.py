"""When a run saves a checkpoint, and which ones it keeps."""

from __future__ import annotations

import math
import shutil
import time
from typing import Any

import jax

from experiments.harness.config import BaseConfig, fixed
from experiments.harness.job import Job
from experiments.harness.resume import train_state_spec
from experiments.harness.screen import Screen
from jaxcnn.parallel import barrier, is_main
from jaxcnn.run import RunFolder
from jaxcnn.train import Progress


class Saver:
    """Saves after each epoch and after so many minutes; knows which checkpoint is the best."""

    def __init__(
        self, run: RunFolder, config: BaseConfig, about: dict[str, Any], best: dict[str, Any] | None
    ) -> None:
        """Begins to count the minutes.

        Args:
          run: where to save.
          config: of the run.
          about: JSON values to keep with each checkpoint.
          best: what a checkpoint that the run goes on from has under "best".
        """
        self._run = run
        self._config = config
        self._about = about | {"config": fixed(config)}
        self._best = best
        self._seen: dict[str, Any] | None = None
        self._saved = time.monotonic()

    def record(self, line: dict[str, Any]) -> None:
        """Sees a line of the log: the validation loss says which checkpoint is the best."""
        if line["kind"] == "eval" and line["split"] == "validation":
            self._seen = {"step": line["step"], "loss": line["loss"]}

    def due(self) -> bool:
        """Whether the last checkpoint is older than `save_minutes`."""
        minutes = self._config.save_minutes
        return minutes is not None and time.monotonic() - self._saved >= 60 * minutes

    def save(self, progress: Progress) -> None:
        """Saves a checkpoint, in process 0; all wait for it. See `RunFolder.save_checkpoint`."""
        if is_main():
            self._save(progress)
        self._saved = time.monotonic()
        barrier("checkpoint")  # what one process has done, all may rely on

    def _save(self, progress: Progress) -> None:
        step = int(progress.train_state.step)
        self._best = better(self._best, self._seen, step)
        best = self._best["step"] if self._config.keep_best and self._best else None
        self._run.save_checkpoint(
            step,
            {"train_state": progress.train_state, "kept": progress.kept},
            self._about | {"policies": progress.policies, "best": self._best},
            self._config.keep,
            best,
        )


def better(
    best: dict[str, Any] | None, seen: dict[str, Any] | None, step: int
) -> dict[str, Any] | None:
    """The best of the checkpoints up to `step`, given the best before and a validation loss.

    A best of a later step is forgotten: training has gone back behind it.
    """
    if best is not None and best["step"] > step:
        best = None
    if seen is None or seen["step"] != step or not math.isfinite(seen["loss"]):
        return best
    return seen if best is None or seen["loss"] < best["loss"] else best


def warn_of_space(run: RunFolder, job: Job, config: BaseConfig, screen: Screen) -> None:
    """Says so where the disk has no room for the checkpoints that will be on it at a time."""
    leaves = jax.tree.leaves(train_state_spec(job, config))
    one = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    one *= 1 + len(job.policies)  # each keeps a state to go back to
    at_once = config.keep + config.keep_best + 1  # one more while it is being written
    needed = 1.2 * at_once * one
    free = shutil.disk_usage(run.path).free
    if free < needed:
        screen.box(
            "little space",
            f"{run.path} has {free / 1e6:,.0f} MB free; its checkpoints need "
            f"{needed / 1e6:,.0f} MB\n({at_once} of {one / 1e6:,.0f} MB, and a fifth more). "
            "Free some, or pass --keep 1.",
        )
