"""From a config to a run folder: what every experiment does, in the order it happens."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple

import jax
import tyro

import jaxcnn
from experiments import STARTED
from experiments.config import C, Config, Recipe, changed, check, from_json, resolve, to_json
from experiments.screen import Screen
from jaxcnn import checkpoint, data, losses, metrics, optim, storage
from jaxcnn.compilation import use_compile_cache
from jaxcnn.data import Dataset
from jaxcnn.errors import CheckpointError, ConfigError, JaxcnnError, NumericalError, explain
from jaxcnn.layer import Layer
from jaxcnn.run import RunFolder, environment
from jaxcnn.train import (
    Fit,
    TrainState,
    fit,
    init_train_state,
    make_eval_step,
    make_evaluator,
    stop_on_signals,
)

EXIT_MET, EXIT_FAILED, EXIT_USAGE = 0, 1, 2  # stopped by a signal: 128 + its number


@dataclasses.dataclass(frozen=True)
class Experiment(Generic[C]):
    """What sets one experiment apart.

    Attributes:
      name: of its module, its `make train-NAME` target and its folder of runs.
      config: the class of its settings.
      title: one line that says what is trained, from the settings.
      model: the network, from settings, image shape and number of classes.
      recipes: by data set; "" for the others.
      first_layer: layer whose kernels are drawn.
      maps: layers whose feature maps are drawn.
    """

    name: str
    config: type[C]
    title: Callable[[C], str]
    model: Callable[[C, tuple[int, int, int], int], Layer]
    recipes: Mapping[str, Recipe]
    first_layer: str
    maps: Sequence[str]


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


class _Job(NamedTuple):
    """Everything that training needs, made from a config."""

    model: Layer
    train: Dataset
    held_out: dict[str, Dataset]
    test: Dataset
    steps_per_epoch: int
    optimizer: Any
    loss: Callable[..., Any]
    prepare: data.Scale
    augment: data.Shift | None


def _run(experiment: Experiment[C], config: C, screen: Screen, stop: Callable[[], bool]) -> int:
    cache = use_compile_cache()
    imported = time.perf_counter()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {experiment.title(config)}")
    config, recipe, job = _prepare(experiment, config, screen)
    loaded = time.perf_counter()
    table = jaxcnn.ledger(job.model, job.test.image_shape)
    screen.say(f"\n{table}\n")

    if config.resume is None:
        run = RunFolder.create(config.out, experiment.name, config.seed)
        storage.write_json(run.config, to_json(config))
        start = None
    else:
        run = RunFolder(config.resume)
        start = _restore(run, job, config)
        screen.say(f"going on with {run.path} at step {int(start.step)}")
    about = {"experiment": experiment.name, "fingerprint": job.train.fingerprint}

    def save(ts: TrainState) -> None:
        run.save_checkpoint(int(ts.step), ts, about, keep=config.keep)

    def ready(seconds: dict[str, float]) -> None:
        parts = {"imports": imported - STARTED, "data": loaded - imported, **seconds}
        total = time.perf_counter() - STARTED
        listed = ", ".join(f"{k} {v:.1f} s" for k, v in parts.items() if k in _READY)
        screen.say(
            f"first step {total:.1f} s after the start ({listed}; "
            f"compiled programs {'cached in ' + str(cache) if cache else 'not cached'})"
        )
        steps = recipe.epochs * job.steps_per_epoch
        screen.start(recipe.epochs, steps, 0 if start is None else int(start.step))

    def record(line: dict[str, Any]) -> None:
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
            augment=job.augment,
            evaluate_on=job.held_out,
            eval_batch_size=config.eval_batch_size,
            train_state=start,
            log_every=config.log_every,
            on_ready=ready,
            on_record=record,
            on_epoch=lambda epoch, ts: save(ts),
            should_stop=stop,
        )
    except NumericalError as error:
        save(error.train_state)  # type: ignore[attr-defined]
        error.add_note(f"That state is in {run.latest_checkpoint()}.")
        raise
    finally:
        screen.stop()
    if not result.finished:
        save(result.train_state)
        screen.say(f"stopped at step {int(result.train_state.step)}; saved. To go on:")
        screen.say(f"  make train-{experiment.name} RESUME={run.path}")
        return 128 + (getattr(stop, "signal", None) or signal.SIGINT)
    return _finish(experiment, config, job, run, result, str(table), screen)


_READY = ("imports", "data", "init", "compile")


def _prepare(experiment: Experiment[C], config: C, screen: Screen) -> tuple[C, Recipe, _Job]:
    """Finds the data and makes network, optimizer and the rest from it."""
    splits = data.load(
        config.data, data_dir=config.data_dir, download=config.download, say=screen.say
    )
    name = splits.train.name.partition("/")[0]
    if config.data == "auto" and name != "mnist":
        screen.box(
            "MNIST was not found",
            f"Training on {splits.train.source} instead\n"
            f"({len(splits.train):,} training and {len(splits.test):,} test images).\n"
            "For MNIST: DATA_DIR=folder make train-" + experiment.name,
        )
    config, recipe = resolve(config, experiment.recipes.get(name, experiment.recipes[""]))
    held_out = {}
    train = splits.train
    if recipe.validation:
        train, held_out["validation"] = train.hold_out(recipe.validation, config.seed)
    per_epoch = data.steps_per_epoch(len(train), recipe.batch_size)
    epoch = 1 if config.unit == "epochs" else per_epoch
    total = recipe.epochs * epoch
    rate = optim.schedule(
        config.schedule,
        recipe.rate,
        total=total,
        warmup=min(epoch, total / 10) if config.warmup is None else config.warmup,
        every=config.every,
        factor=config.factor,
        unit=config.unit,
        steps_per_epoch=per_epoch,
    )
    settings = {
        name: getattr(config, name)
        for name in ("momentum", "decay", "beta1", "beta2", "epsilon")
        if getattr(config, name) is not None
    }
    job = _Job(
        model=experiment.model(config, train.image_shape, len(train.classes)),
        train=train,
        held_out=held_out,
        test=splits.test,
        steps_per_epoch=per_epoch,
        optimizer=optim.optimizer(
            config.optimizer,
            rate,
            weight_decay=recipe.weight_decay,
            clip_norm=config.clip_norm,
            **settings,
        ),
        loss=partial(losses.softmax_cross_entropy, label_smoothing=config.label_smoothing),
        prepare=data.Scale(),
        augment=data.Shift(recipe.shift) if recipe.shift else None,
    )
    return config, recipe, job


def _restore(run: RunFolder, job: _Job, config: Config) -> TrainState:
    """The newest state of a run, whose log is cut back to it."""
    path = run.latest_checkpoint()
    about = checkpoint.read_manifest(path)["about"]
    if about["fingerprint"] != job.train.fingerprint:
        raise CheckpointError(
            f"{path}: was trained on other data than {job.train.source} holds.\n"
            "Pass the --data-dir of the run that is resumed."
        )
    like = jax.eval_shape(
        lambda: init_train_state(
            job.model, job.optimizer, jax.random.key(config.seed), job.train.image_shape
        )
    )
    ts = checkpoint.restore(path, like)
    run.rewind_log(int(ts.step))
    return ts


def _finish(
    experiment: Experiment[C],
    config: C,
    job: _Job,
    run: RunFolder,
    result: Fit,
    table: str,
    screen: Screen,
) -> int:
    """Evaluates on the test set, writes record, pictures and report, and gives the verdict."""
    from experiments import pictures  # matplotlib takes half a second to import
    from jaxcnn import report

    params, state = result.train_state.params, result.train_state.state
    began = time.perf_counter()
    evaluate = make_evaluator(
        make_eval_step(job.model, job.loss, prepare=job.prepare), job.test, config.eval_batch_size
    )
    figures = metrics.summarize(evaluate(params, state))
    seconds = dict(result.seconds)
    seconds["eval"] += time.perf_counter() - began
    run.log({"kind": "test", "step": int(result.train_state.step), **figures})

    began = time.perf_counter()
    made = pictures.draw(
        job.model,
        params,
        state,
        test=job.test,
        prepare=job.prepare,
        history=[line for line in run.history() if line["kind"] != "test"],
        first_layer=experiment.first_layer,
        maps=experiment.maps,
    )
    for file, _, content in made:
        storage.write_bytes(run.path / file, content)
    seconds["pictures"] = time.perf_counter() - began

    met = None if config.expected is None else figures["accuracy"] >= config.expected
    verdict = (
        f"test accuracy {100 * figures['accuracy']:.2f} % "
        f"({round(figures['accuracy'] * figures['count']):,} of {figures['count']:,} images of "
        f"{job.test.name})"
    )
    if config.expected is None:
        judged = "no expected figure for this data set"
    else:
        judged = f"expected >= {100 * config.expected:.2f} %: {'met' if met else 'NOT MET'}"
    shown = {part: f"{value:.1f} s" for part, value in seconds.items()}
    record: dict[str, Any] = {
        "experiment": experiment.name,
        "title": experiment.title(config),
        "seed": config.seed,
        "data": {
            "name": job.test.name.partition("/")[0],
            "source": job.train.source,
            "train": {"examples": len(job.train), "sha256": job.train.fingerprint},
            "test": {"examples": len(job.test), "sha256": job.test.fingerprint},
        },
        "test": figures,
        "expected": config.expected,
        "met": met,
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "environment": environment(),
    }
    storage.write_json(run.record, record)
    page = report.render(
        experiment.title(config),
        result=f"{verdict}; {judged}.",
        met=met,
        pictures=[(caption, content) for _, caption, content in made],
        ledger=table,
        tables={
            "Time": shown,
            "Data": record["data"],
            "Settings": to_json(config),
            "Environment": record["environment"],
        },
    )
    storage.write_bytes(run.path / "report.html", page.encode())

    screen.say(f"\n{verdict}")
    screen.say(judged)
    screen.say("time: " + ", ".join(f"{part} {value}" for part, value in shown.items()))
    screen.say(f"pictures: {', '.join(str(run.path / file) for file, _, _ in made)}")
    screen.say(f"report: {run.path / 'report.html'}")
    return EXIT_FAILED if met is False else EXIT_MET
