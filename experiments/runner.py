"""From a config to a run folder: what every experiment does, in the order it happens."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import tyro

import jaxcnn
from experiments import STARTED
from experiments.config import C, Config, changed, check, from_json, to_json
from experiments.job import Experiment, Job, prepare
from experiments.screen import Screen
from jaxcnn import checkpoint, determinism, replay, storage
from jaxcnn.compilation import use_compile_cache
from jaxcnn.errors import (
    CheckpointError,
    ConfigError,
    DamagedCheckpointError,
    JaxcnnError,
    NumericalError,
    explain,
)
from jaxcnn.functional.lowering import choice
from jaxcnn.process import keep_freed_memory
from jaxcnn.run import RunFolder
from jaxcnn.train import (
    Fault,
    Progress,
    StopRequest,
    TrainState,
    fit,
    init_train_state,
    network_input,
    stop_on_signals,
)
from jaxcnn.train.nonfinite import SKIP

EXIT_MET, EXIT_FAILED, EXIT_USAGE = 0, 1, 2  # stopped: `StopRequest.status`


def main(experiment: Experiment[C], arguments: Sequence[str] | None = None) -> int:
    """Runs an experiment from the command line and returns the exit status."""
    screen = Screen()
    try:
        config = _parse(experiment, sys.argv[1:] if arguments is None else list(arguments))
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
    if config.like is not None and config.resume is None:
        recorded = from_json(experiment.config, RunFolder(config.like).config)
        fresh = dataclasses.replace(recorded, resume=None, like=None)
        config = parse(default=fresh)
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
    if config.deterministic:
        determinism.demand(screen.say)
    if config.keep_memory:
        keep_freed_memory(screen.say)
    cache = use_compile_cache()
    imported = time.perf_counter()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {experiment.title(config)}")
    config, recipe, job = prepare(experiment, config, screen)
    loaded = time.perf_counter()
    table = jaxcnn.ledger(job.model, job.test.image_shape)
    screen.say(f"\n{table}\n")

    if config.resume is None:
        run = RunFolder.create(config.out, experiment.name, config.seed)
        storage.write_json(run.config, to_json(config))
        start = None
    else:
        run = RunFolder(config.resume)
        start = restore_newest(run, job, config, screen)
        screen.say(f"going on with {run.path} at step {int(start.train_state.step)}")
    about = {"experiment": experiment.name, "fingerprint": job.train.fingerprint}

    def save(progress: Progress) -> None:
        tree = {"train_state": progress.train_state, "kept": progress.kept}
        step = int(progress.train_state.step)
        run.save_checkpoint(step, tree, about | {"policies": progress.policies}, config.keep)

    def ready(seconds: dict[str, float]) -> None:
        parts = {"imports": imported - STARTED, "data": loaded - imported, **seconds}
        total = time.perf_counter() - STARTED
        listed = ", ".join(f"{k} {v:.1f} s" for k, v in parts.items() if k in _READY)
        screen.say(
            f"first step {total:.1f} s after the start ({listed}; "
            f"{cache.summary() if cache else 'compiled programs are not cached'})"
        )
        steps = recipe.epochs * job.steps_per_epoch
        screen.start(recipe.epochs, steps, 0 if start is None else int(start.train_state.step))

    def record(line: dict[str, Any]) -> None:
        run.log(line)
        screen.record(line)

    tracing = ExitStack()
    lowerings = tracing.enter_context(choice.recorded())
    if config.deterministic:
        tracing.enter_context(determinism.operations())
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
            on_nonfinite=config.on_nonfinite,
            nonfinite_limit=config.nonfinite_limit,
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
        if error.fault is not None:  # type: ignore[attr-defined]
            bundle = save_fault(run, error.fault, about)  # type: ignore[attr-defined]
            error.add_note(f"To repeat that step: make replay BUNDLE={bundle}")
        save(error.progress)  # type: ignore[attr-defined]
        error.add_note(f"That state is in {run.latest_checkpoint()}.")
        raise
    except jax.errors.JaxRuntimeError as error:
        refused = determinism.refusal(error) if config.deterministic else None
        if refused is None:
            raise
        raise refused from error
    finally:
        tracing.close()
        screen.stop()
    if not result.finished:
        save(result.progress)
        screen.say(f"stopped at step {int(result.train_state.step)}; saved. To go on:")
        screen.say(f"  make train-{experiment.name} RESUME={run.path}")
        return stop.status

    from experiments.finish import finish  # matplotlib takes half a second to import

    how = sorted({(made.operation, made.lowering) for made in lowerings})
    good = finish(experiment, config, job, run, result, str(table), screen, how)
    return EXIT_MET if good else EXIT_FAILED


_READY = ("imports", "data", "init", "compile")


def save_fault(run: RunFolder, fault: Fault, about: dict[str, Any]) -> Path:
    """Keeps a step that was not finite, to be repeated; returns the folder of the bundle."""
    path = run.path / "faults" / f"step-{fault.step:08d}"
    replay.save(path, fault, about)
    return path


def restore_newest(run: RunFolder, job: Job, config: Config, screen: Screen) -> Progress:
    """The newest progress of a run that can be read, whose log is cut back to it."""
    last = run.latest_checkpoint()  # raises if there is none
    for path in reversed(run.list_checkpoints()):
        try:
            return _restore_from(path, run, job, config)
        except DamagedCheckpointError as error:
            screen.say(f"passed over: {error}")
    raise CheckpointError(f"{run.path}: every checkpoint is damaged, the newest is {last}.")


def _restore_from(path: Path, run: RunFolder, job: Job, config: Config) -> Progress:
    about = checkpoint.read_manifest(path)["about"]
    if about["fingerprint"] != job.train.fingerprint:
        raise CheckpointError(
            f"{path}: was trained on other data than {job.train.source} holds.\n"
            "Pass the --data-dir of the run that is resumed."
        )
    like = fresh_state(job, config)
    policies = about["policies"]
    kept = {name: like for name in policies if name != SKIP}
    wanted: dict[str, Any] = {"train_state": like, "kept": kept}
    tree = checkpoint.restore(path, wanted)
    run.rewind_log(about["log_lines"])
    return Progress(tree["train_state"], policies, tree["kept"])


def fresh_state(job: Job, config: Config) -> TrainState:
    """Structure, shapes and dtypes of the job's train state; no arrays."""
    spec: TrainState = jax.eval_shape(
        lambda: init_train_state(
            job.model,
            job.optimizer,
            jax.random.key(config.seed),
            network_input(job.train, job.prepare, job.augment),
            precision=job.precision,
        )
    )
    return spec
