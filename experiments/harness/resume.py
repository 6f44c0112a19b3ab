"""Going on with a run: which one, from where, and whether it fits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.harness.about import check_about
from experiments.harness.config import BaseConfig, C, changed, fixed, from_json, to_json
from experiments.harness.job import Experiment, Job
from experiments.harness.screen import Screen
from jaxcnn import lock
from jaxcnn.errors import CheckpointError, ConfigError, DamagedCheckpointError, DataError
from jaxcnn.run import RunFolder
from jaxcnn.train import Progress, TrainState, init_train_state, network_input
from jaxcnn.train.nonfinite import SKIP
from jaxcnn.untrusted import field

AUTO = Path("auto")
"""Value of --resume that means: the newest run with the same settings, if there is one."""


class Opened(NamedTuple):
    """A run to write to, and where it goes on."""

    run: RunFolder
    start: Progress | None
    best: dict[str, Any] | None  # its best checkpoint so far
    met: bool | None = None  # the verdict, if the run is complete already


def open_run(
    experiment: Experiment[C], config: C, job: Job, screen: Screen, held: ExitStack
) -> Opened:
    """Makes the folder of a new run, or brings the one that is resumed back to a checkpoint.

    Its lock is held until `held` ends; that of a run named by --resume is held already.

    Raises:
      CheckpointError, OutputError: as `go_on`.
      LockedError: another process writes to it.
    """
    run = None if config.resume in (None, AUTO) else RunFolder(config.resume)
    if config.resume == AUTO:
        run = find_run(experiment, config, screen)
        met = None if run is None else verdict(run)
        if run is not None and met is not None:
            screen.say(f"{run.path} is complete. For another run leave --resume auto out.")
            return Opened(run, None, None, met)
        if run is not None:
            held.enter_context(lock.hold(run.lock, screen.say))
    if run is None:
        settings = to_json(dataclasses.replace(config, resume=None))
        run = RunFolder.create(config.out, experiment.name, config.seed, settings)
        held.enter_context(lock.hold(run.lock, screen.say))
        return Opened(run, None, None)
    start, about = go_on(run, job, config, screen)
    return Opened(run, start, about["best"])


def find_run(experiment: Experiment[C], config: C, screen: Screen) -> RunFolder | None:
    """The newest run below --out whose settings, seed included, are those of `config`."""
    odd = []
    for run in reversed(RunFolder.list_runs(config.out, experiment.name)):
        try:
            recorded = from_json(experiment.config, run.config)
        except ConfigError:
            odd.append(run.path.name)
            continue
        if not changed(config, recorded):
            return run
    if odd:
        shown = ", ".join(odd[:3]) + (f" and {len(odd) - 3} more" if len(odd) > 3 else "")
        screen.say(f"not gone on with, their config.json being damaged or of old: {shown}")
    return None


def verdict(run: RunFolder) -> bool | None:
    """Whether a complete run met its expected figure, True if it had none; None: incomplete."""
    try:
        return run.read_record()["met"] is not False
    except (DataError, KeyError):
        return None


def restore_newest(
    run: RunFolder, job: Job, config: BaseConfig, screen: Screen
) -> tuple[Progress, dict[str, Any]]:
    """The newest progress of a run that is undamaged, and what was kept with it.

    Raises:
      CheckpointError: there is none, or it is of other data or settings than these.
    """
    state = train_state_spec(job, config)

    def like(about: dict[str, Any]) -> dict[str, Any]:
        where = run.checkpoint_at(about["step"])
        settings = field(about, "config", dict, where, error=DamagedCheckpointError)
        if about.get("fingerprint") != job.train.fingerprint:
            raise CheckpointError(
                f"{run.path}: was trained on other data than {job.train.source} holds.\n"
                "Pass the --data-dir of the run that is resumed."
            )
        here = json.loads(json.dumps(fixed(config)))
        differ = sorted(k for k in {*here, *settings} if here.get(k) != settings.get(k))
        if differ:
            raise CheckpointError(
                f"{run.config}: was changed since the run was started: {', '.join(differ)} differ "
                "from what its checkpoints were trained with.\nPut the old values back."
            )
        check_about(about, job, config, where)
        return {"train_state": state, "kept": kept_states(about["policies"], state)}

    tree, about = run.restore_newest(like, screen.say)
    return Progress(tree["train_state"], about["policies"], tree["kept"]), about


def go_on(
    run: RunFolder, job: Job, config: BaseConfig, screen: Screen
) -> tuple[Progress | None, dict[str, Any]]:
    """Brings a run back to its newest undamaged checkpoint, log included.

    With --resume auto, a run that has none goes on from its beginning: its progress is None.

    Raises:
      CheckpointError: as `restore_newest`.
      OutputError: the folder cannot be written.
    """
    auto = config.resume == AUTO
    progress: Progress | None = None
    about: dict[str, Any] = {"step": 0, "log_lines": 0, "best": None}
    try:
        if not auto or run.list_checkpoints():
            progress, about = restore_newest(run, job, config, screen)
    except DamagedCheckpointError as error:
        if not auto:
            raise
        screen.say(f"{error} It starts anew.")
    missing = run.rewind(about["step"], about["log_lines"])
    if missing:
        screen.say(f"{run.metrics}: {missing} lines are lost; the training is not affected.")
    screen.say(f"going on with {run.path} at step {about['step']}")
    before, now = about.get("devices", jax.device_count()), jax.device_count()
    if before != now:
        screen.say(
            f"trained on {before} device(s) before and on {now} now: sums are added in another "
            "order, so results agree to rounding, not bit for bit"
        )
    return progress, about


def kept_states(policies: Iterable[str], state: TrainState) -> dict[str, TrainState]:
    """A state for each policy that keeps one to go back to."""
    return {name: state for name in policies if name != SKIP}


def train_state_spec(job: Job, config: BaseConfig) -> TrainState:
    """Structure, shapes and dtypes of the train state."""
    return jax.eval_shape(
        lambda: init_train_state(
            job.model,
            job.optimizer,
            jax.random.key(config.seed),
            network_input(job.train, job.prepare, job.augment),
            precision=job.precision,
        )
    )
