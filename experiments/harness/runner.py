"""From a config to a run folder: what every experiment does, in the order it happens."""

from __future__ import annotations

import dataclasses
import json
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
from experiments.harness import team
from experiments.harness.config import C, changed, check, from_json
from experiments.harness.job import Experiment, Job, prepare
from experiments.harness.resume import AUTO, open_run, train_state_spec
from experiments.harness.saving import Saver, warn_of_space
from experiments.harness.screen import Screen
from jaxcnn import determinism, lock, replay
from jaxcnn.compilation import use_compile_cache
from jaxcnn.data import Stream
from jaxcnn.errors import ConfigError, JaxcnnError, NumericalError, explain
from jaxcnn.functional.lowering import choice
from jaxcnn.parallel import all_or_none, gather_texts, is_main, on_main, unreplicate
from jaxcnn.run import RunFolder
from jaxcnn.train import Fault, Fit, StopRequest, fit, stop_on_signals

EXIT_MET, EXIT_FAILED, EXIT_USAGE = 0, 1, 2  # stopped: `StopRequest.status`


def main(experiment: Experiment[C], arguments: Sequence[str] | None = None) -> int:
    """Runs an experiment from the command line and returns the exit status."""
    screen = Screen()
    try:
        screen = Screen(quiet=team.number() > 0)
        config = _parse(experiment, sys.argv[1:] if arguments is None else list(arguments))
        team.join(config, screen)  # before the handlers of signals, which JAX would replace
        with stop_on_signals(screen.show_cursor) as stop, ExitStack() as held:
            return _run(experiment, config, screen, stop, held)
    except ConfigError as error:
        screen.stop()
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_USAGE
    except JaxcnnError as error:
        screen.stop()
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as error:  # a second Ctrl-C or SIGTERM: nothing more is saved
        screen.stop()
        print("interrupted.", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)


def _parse(experiment: Experiment[C], arguments: list[str]) -> C:
    """Flags to config. With --resume the recorded settings are the defaults."""
    program = f"python -m experiments.{experiment.name}"
    parse = partial(tyro.cli, experiment.config, prog=program, args=arguments)
    config: C = parse()
    if config.like is not None and config.resume is None:
        recorded = from_json(experiment.config, RunFolder(config.like).config)
        fresh = dataclasses.replace(recorded, resume=None, like=None)
        config = parse(default=fresh)
    if config.resume not in (None, AUTO):
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


def _run(
    experiment: Experiment[C], config: C, screen: Screen, stop: StopRequest, held: ExitStack
) -> int:
    if config.max_minutes is not None:
        stop.limit(config.max_minutes)
    if config.resume not in (None, AUTO):
        path = RunFolder(config.resume).lock

        def take() -> str:
            held.enter_context(lock.hold(path, screen.say))
            return ""

        on_main(take)  # before the data is read: another process may be writing there
    if config.deterministic:
        determinism.demand(screen.say)
    cache = use_compile_cache()
    imported = time.perf_counter()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {experiment.title(config)}")
    config, recipe, job = all_or_none(lambda: prepare(experiment, config, screen))
    team.check_agreement(config, job)
    loaded = time.perf_counter()
    table = jaxcnn.ledger(job.model, job.test.image_shape)
    screen.say(f"\n{table}\n")

    times = {"imports": imported - STARTED, "data": loaded - imported}
    held.callback(job.close)
    opened = team.open_run(
        lambda: open_run(experiment, config, job, screen, held), train_state_spec(job, config)
    )
    if opened.met is not None:
        return EXIT_MET if opened.met else EXIT_FAILED
    run, start, best, _ = opened
    if is_main():
        warn_of_space(run, job, config, screen)
    about = {
        "experiment": experiment.name,
        "fingerprint": job.train.fingerprint,
        "devices": jax.device_count(),
    }
    saver = Saver(run, config, about, best)

    def ready(seconds: dict[str, float]) -> None:
        parts = {**times, **seconds}
        total = time.perf_counter() - STARTED
        listed = ", ".join(f"{k} {v:.1f} s" for k, v in parts.items() if k in _READY)
        compiled = cache.summary() if cache else "compiled programs are not cached"
        screen.say(f"first step {total:.1f} s after the start ({listed}; {compiled})")
        if (devices := jax.device_count()) > 1:
            way = "jit" if config.parallel == "auto" else config.parallel
            rows = recipe.batch_size
            screen.say(
                f"{rows} images a step, {rows // devices} on each of {devices} devices ({way})"
            )
        steps = recipe.epochs * job.steps_per_epoch
        screen.start(recipe.epochs, steps, 0 if start is None else int(start.train_state.step))

    def record(line: dict[str, Any]) -> None:
        if is_main():
            run.log(line)
        saver.record(line)
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
            on_epoch=lambda epoch, progress: saver.save(progress),
            on_save=saver.save,
            should_save=saver.due,
            should_stop=stop,
        )
    except NumericalError as error:
        found = error.fault  # type: ignore[attr-defined]
        # Of several processes each has only its own rows of a streamed batch.
        if found is not None and jax.process_count() == 1:
            bundle = save_fault(run, found, about)
            error.add_note(f"To repeat that step: make replay BUNDLE={bundle}")
        saver.save(error.progress)  # type: ignore[attr-defined]
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
    corrupt = _report_input(job, result, screen)
    if not result.finished:
        saver.save(result.progress)
        screen.say(f"stopped at step {int(result.train_state.step)}; saved. To go on:")
        screen.say(f"  make train-{experiment.name} RESUME={run.path}")
        return max(int(status) for status in gather_texts(str(stop.status)))

    def end() -> str:
        from experiments.harness.finish import finish  # matplotlib takes half a second to import

        how = sorted({(made.operation, made.lowering) for made in lowerings})
        good = finish(experiment, config, job, run, alone, str(table), corrupt, screen, how)
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


def save_fault(run: RunFolder, fault: Fault, about: dict[str, Any]) -> Path:
    """Keeps a step that was not finite, to be repeated; returns the folder of the bundle."""
    path = run.path / "faults" / f"step-{fault.step:08d}"
    replay.save(path, fault, about)
    return path
