"""From a config to a run folder: what every experiment does, in the order it happens."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import tyro

import jaxcnn
from experiments import STARTED, team
from experiments.config import BaseConfig, C, Recipe, changed, check, from_json, to_json
from experiments.job import Experiment, Job, prepare
from experiments.screen import Screen
from jaxcnn import checkpoint, storage
from jaxcnn.compilation import use_compile_cache
from jaxcnn.data import Stream
from jaxcnn.errors import (
    CheckpointError,
    ConfigError,
    DamagedCheckpointError,
    JaxcnnError,
    NumericalError,
    explain,
)
from jaxcnn.parallel import barrier, gather_texts, is_main, on_main, unreplicate
from jaxcnn.process import keep_freed_memory
from jaxcnn.run import RunFolder
from jaxcnn.train import (
    Fit,
    Progress,
    StopRequest,
    fit,
    init_train_state,
    network_input,
    stop_on_signals,
)

EXIT_MET, EXIT_FAILED, EXIT_USAGE = 0, 1, 2  # stopped: `StopRequest.status`


def main(experiment: Experiment[C], arguments: Sequence[str] | None = None) -> int:
    """Runs an experiment from the command line and returns the exit status."""
    screen = Screen()
    try:
        screen = Screen(quiet=team.number() > 0)
        config = _parse(experiment, sys.argv[1:] if arguments is None else list(arguments))
        team.join(config, screen)  # before the handlers of signals, which JAX would replace
        with stop_on_signals() as stop:
            return _run(experiment, config, screen, stop)
    except ConfigError as error:
        screen.stop()
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_USAGE
    except JaxcnnError as error:
        screen.stop()
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:  # before training, or a second Ctrl-C: nothing more to save
        screen.stop()
        print("interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT


def _parse(experiment: Experiment[C], arguments: list[str]) -> C:
    """Flags to config. With --resume the recorded settings are the defaults."""
    program = f"python -m experiments.{experiment.name}"
    parse = partial(tyro.cli, experiment.config, prog=program, args=arguments)
    config: C = parse()
    if config.resume is not None:
        recorded = from_json(experiment.config, RunFolder(config.resume).config)
        config = parse(default=recorded)
        conflicts = changed(config, recorded)
        if conflicts:
            raise ConfigError(
                f"--resume goes on with the recorded settings, but {', '.join(conflicts)} would "
                "change.\nLeave those flags out, or start a new run."
            )
    check(config)
    return config


def _run(experiment: Experiment[C], config: C, screen: Screen, stop: StopRequest) -> int:
    if config.max_minutes is not None:
        stop.limit(config.max_minutes)
    if config.keep_memory:
        keep_freed_memory(screen.say)
    cache = use_compile_cache()
    imported = time.perf_counter()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {experiment.title(config)}")
    config, recipe, job = prepare(experiment, config, screen)
    team.check_agreement(config, job)
    loaded = time.perf_counter()
    table = jaxcnn.ledger(job.model, job.test.image_shape)
    screen.say(f"\n{table}\n")

    times = {"imports": imported - STARTED, "data": loaded - imported}
    compiled = cache.summary() if cache else "compiled programs are not cached"
    with contextlib.closing(job):
        return _train(experiment, config, recipe, job, str(table), times, compiled, screen, stop)


def _train(
    experiment: Experiment[C],
    config: C,
    recipe: Recipe,
    job: Job,
    table: str,
    times: dict[str, float],
    compiled: str,
    screen: Screen,
    stop: StopRequest,
) -> int:
    run = RunFolder(Path(on_main(lambda: str(_open_run(experiment, config).path))))
    start = None
    if config.resume is not None:
        start = team.restore(
            lambda: restore_newest(run, job, config, screen), stored_tree(job, config)
        )
        screen.say(f"going on with {run.path} at step {int(start.train_state.step)}")
    about = {
        "experiment": experiment.name,
        "fingerprint": job.train.fingerprint,
        "devices": jax.device_count(),
    }

    def save(progress: Progress) -> None:
        tree = {"train_state": progress.train_state, "kept": progress.kept}
        step = int(progress.train_state.step)
        if is_main():
            run.save_checkpoint(step, tree, about | {"policies": progress.policies}, config.keep)
        barrier("checkpoint")  # what one process has done, all may rely on

    def ready(seconds: dict[str, float]) -> None:
        parts = {**times, **seconds}
        total = time.perf_counter() - STARTED
        listed = ", ".join(f"{k} {v:.1f} s" for k, v in parts.items() if k in _READY)
        screen.say(f"first step {total:.1f} s after the start ({listed}; {compiled})")
        steps = recipe.epochs * job.steps_per_epoch
        screen.start(recipe.epochs, steps, 0 if start is None else int(start.train_state.step))

    def record(line: dict[str, Any]) -> None:
        if is_main():
            run.log(line)
        screen.record(line)

    try:
        result = fit(
            job.model,
            job.train,
            loss=job.loss,
            optimizer=job.optimizer,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=config.seed,
            prepare=job.prepare,
            precision=job.precision,
            augment=job.augment,
            evaluate_on=job.held_out,
            eval_batch_size=config.eval_batch_size,
            start=start,
            policies=job.policies,
            log_every=config.log_every,
            steps_per_call=config.steps_per_call,
            accumulate=config.accumulate,
            parallel=config.parallel,
            on_ready=ready,
            on_record=record,
            on_epoch=lambda epoch, progress: save(progress),
            should_stop=stop,
        )
    except NumericalError as error:
        save(error.progress)  # type: ignore[attr-defined]
        error.add_note(f"That state is in {run.latest_checkpoint()}.")
        raise
    finally:
        screen.stop()
    corrupt = _report_input(job, result, screen)
    if not result.finished:
        save(result.progress)
        screen.say(f"stopped at step {int(result.train_state.step)}; saved. To go on:")
        screen.say(f"  make train-{experiment.name} RESUME={run.path}")
        return max(int(status) for status in gather_texts(str(stop.status)))

    def end() -> str:
        from experiments.finish import finish  # matplotlib takes half a second to import

        good = finish(experiment, config, job, run, alone, table, corrupt, screen)
        return "met" if good else ""

    # What follows is one process's work, on its own devices.
    alone = result._replace(train_state=unreplicate(result.train_state))
    return EXIT_MET if on_main(end) else EXIT_FAILED


_READY = ("imports", "data", "init", "compile")


def _report_input(job: Job, result: Fit, screen: Screen) -> list[str]:
    """Says how long training waited for input, and which pictures all processes left out."""
    if not isinstance(job.train, Stream):
        return []
    if result.throughput is not None:
        screen.say(f"input: {result.throughput.summary()}")
    ours = json.dumps(job.train.corrupt)
    corrupt = sorted({path for text in gather_texts(ours) for path in json.loads(text)})
    if corrupt:
        screen.say(f"{len(corrupt)} pictures could not be read and were left out:")
        for path in corrupt:
            screen.say(f"  {path}")
    return corrupt


def _open_run(experiment: Experiment[C], config: C) -> RunFolder:
    """The folder of the run that is resumed, or a new one."""
    if config.resume is not None:
        return RunFolder(config.resume)
    run = RunFolder.create(config.out, experiment.name, config.seed)
    storage.write_json(run.config, to_json(config))
    return run


def restore_newest(run: RunFolder, job: Job, config: BaseConfig, screen: Screen) -> Progress:
    """The newest progress of a run that can be read, whose log is cut back to it."""
    last = run.latest_checkpoint()  # raises if there is none
    for path in reversed(run.list_checkpoints()):
        try:
            return _restore_from(path, run, job, config, screen)
        except DamagedCheckpointError as error:
            screen.say(f"passed over: {error}")
    raise CheckpointError(f"{run.path}: every checkpoint is damaged, the newest is {last}.")


def _restore_from(
    path: Path, run: RunFolder, job: Job, config: BaseConfig, screen: Screen
) -> Progress:
    about = checkpoint.read_manifest(path)["about"]
    if about["fingerprint"] != job.train.fingerprint:
        raise CheckpointError(
            f"{path}: was trained on other data than {job.train.source} holds.\n"
            "Pass the --data-dir of the run that is resumed."
        )
    policies = about["policies"]
    wanted = stored_tree(job, config)
    wanted["kept"] = dict.fromkeys(policies, wanted["train_state"])
    tree = checkpoint.restore(path, wanted)
    run.rewind_log(about["log_lines"])
    before, now = about.get("devices", 1), jax.device_count()
    if before != now:
        screen.say(
            f"trained on {before} device(s) before and on {now} now: "
            "sums are added in another order, so results agree to rounding, not bit for bit"
        )
    return Progress(tree["train_state"], policies, tree["kept"])


def stored_tree(job: Job, config: BaseConfig) -> dict[str, Any]:
    """Structure, shapes and dtypes of what a checkpoint of this training holds."""
    like = jax.eval_shape(
        lambda: init_train_state(
            job.model,
            job.optimizer,
            jax.random.key(config.seed),
            network_input(job.train, job.prepare, job.augment),
            precision=job.precision,
        )
    )
    return {"train_state": like, "kept": dict.fromkeys(job.policies, like)}
