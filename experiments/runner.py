"""From a config to a run folder: what every experiment does, in the order it happens."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import tyro

import jaxcnn
from experiments import STARTED
from experiments.config import C, changed, check, from_json, to_json
from experiments.job import Experiment, prepare
from experiments.resume import AUTO, find_run, go_on, verdict
from experiments.saving import Saver, warn_of_space
from experiments.screen import Screen
from jaxcnn import lock
from jaxcnn.compilation import use_compile_cache
from jaxcnn.errors import ConfigError, JaxcnnError, NumericalError, explain
from jaxcnn.process import keep_freed_memory
from jaxcnn.run import RunFolder
from jaxcnn.train import StopRequest, fit, stop_on_signals

EXIT_MET, EXIT_FAILED, EXIT_USAGE = 0, 1, 2  # stopped: `StopRequest.status`


def main(experiment: Experiment[C], arguments: Sequence[str] | None = None) -> int:
    """Runs an experiment from the command line and returns the exit status."""
    screen = Screen()
    try:
        config = _parse(experiment, sys.argv[1:] if arguments is None else list(arguments))
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
    run = None if config.resume in (None, AUTO) else RunFolder(config.resume)
    if run is not None:
        held.enter_context(lock.hold(run.lock, screen.say))
    if config.keep_memory:
        keep_freed_memory(screen.say)
    cache = use_compile_cache()
    imported = time.perf_counter()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {experiment.title(config)}")
    config, recipe, job = prepare(experiment, config, screen)
    loaded = time.perf_counter()
    table = jaxcnn.ledger(job.model, job.test.image_shape)
    screen.say(f"\n{table}\n")

    if config.resume == AUTO:
        run = find_run(experiment, config, screen)
        met = None if run is None else verdict(run)
        if run is not None and met is not None:
            screen.say(f"{run.path} is complete. For another run leave --resume auto out.")
            return EXIT_MET if met else EXIT_FAILED
        if run is not None:
            held.enter_context(lock.hold(run.lock, screen.say))
    if run is None:
        settings = to_json(dataclasses.replace(config, resume=None))
        run = RunFolder.create(config.out, experiment.name, config.seed, settings)
        held.enter_context(lock.hold(run.lock, screen.say))
        start, best = None, None
    else:
        start, about = go_on(run, job, config, screen)
        best = about["best"]
    warn_of_space(run, job, config, screen)
    about = {"experiment": experiment.name, "fingerprint": job.train.fingerprint}
    saver = Saver(run, config, about, best)

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
        saver.record(line)
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
            on_epoch=lambda epoch, progress: saver.save(progress),
            on_save=saver.save,
            should_save=saver.due,
            should_stop=stop,
        )
    except NumericalError as error:
        saver.save(error.progress)  # type: ignore[attr-defined]
        error.add_note(f"That state is in {run.latest_checkpoint()}.")
        raise
    finally:
        screen.stop()
    if not result.finished:
        saver.save(result.progress)
        screen.say(f"stopped at step {int(result.train_state.step)}; saved. To go on:")
        screen.say(f"  make train-{experiment.name} RESUME={run.path}")
        return stop.status

    from experiments.finish import finish  # matplotlib takes half a second to import

    good = finish(experiment, config, job, run, result, str(table), screen)
    return EXIT_MET if good else EXIT_FAILED


_READY = ("imports", "data", "init", "compile")
