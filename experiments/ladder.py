"""The ladder: every experiment of the decks that a laptop can carry, with all its seeds.

Command:   make ladder                 (settings: python -m experiments.ladder --help)
Expected:  every rung's figure; the exit status is 0 only if all are met.
Time:      not timed as a whole; its parts add up to some 6 hours of a CPU core (x86-64,
           AVX-512). `make ladder ARGS="logistic mlp"` runs some of it. A rung that was stopped
           goes on where it was, and runs that are complete are not made again, until --fresh
           says so.

Writes `experiments/results/RUNG.json` after each rung; `make results` makes the tables from them.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import tyro

from experiments.harness import records
from experiments.harness.screen import Screen
from jaxcnn import storage
from jaxcnn.errors import ConfigError, DataError, JaxcnnError, explain
from jaxcnn.run import RunFolder
from jaxcnn.untrusted import read_json

_AS_WRITTEN = (
    *("--optimizer", "sgd", "--rate", "1e-3", "--schedule", "constant", "--warmup", "0"),
    *("--weight-decay", "0"),
)


class Rung(NamedTuple):
    """One row of the table.

    Attributes:
      name: of the record.
      module: the experiment or study.
      what: the row's first column; a study has its own.
      flags: settings that differ from the experiment's own.
      seeds: how many, from 0; 0 for a study, which has its own.
      least: mean test accuracy that is asked, if any.
    """

    name: str
    module: str
    what: str = ""
    flags: tuple[str, ...] = ()
    seeds: int = 0
    least: float | None = None


RUNGS = (
    Rung("logistic", "logistic", "logistic regression, MNIST", seeds=3, least=0.92),
    Rung("mlp", "mlp", "MLP 512-512, MNIST", seeds=3, least=0.982),
    Rung("lenet_1998", "lenet_1998", "LeNet-5 of 1998, MNIST", seeds=5, least=0.9905),
    Rung("lenet", "lenet", "LeNet-5 of today, MNIST", seeds=3, least=0.9935),
    Rung(
        "lenet_bfloat16",
        "lenet",
        "LeNet-5 of today, products in bfloat16, MNIST",
        ("--precision", "bfloat16"),
        seeds=3,
        least=0.9935,
    ),
    Rung(
        "lenet_distortions",
        "lenet_distortions",
        "LeNet-5 with distorted images, MNIST",
        seeds=3,
        least=0.995,
    ),
    Rung("small_cnn", "small_cnn", "small batch-norm CNN, MNIST", seeds=3, least=0.9965),
    Rung(
        "deck_d_mnist_as_written",
        "deck_d_mnist",
        "deck D's net, MNIST, as the deck writes it",
        _AS_WRITTEN,
        seeds=3,
        least=0.9912,
    ),
    Rung("deck_d_mnist", "deck_d_mnist", "deck D's net, MNIST", seeds=3, least=0.9912),
    Rung(
        "deck_d_cifar_as_written",
        "deck_d_cifar",
        "deck D's net, CIFAR-10, as the deck writes it",
        (*_AS_WRITTEN, "--batch-size", "100", "--preprocess", "scale"),
        seeds=3,
        least=0.6939,
    ),
    Rung("deck_d_cifar", "deck_d_cifar", "deck D's net, CIFAR-10", seeds=3, least=0.6939),
    Rung(
        "deck_d_cifar_bfloat16",
        "deck_d_cifar",
        "deck D's net, products in bfloat16, CIFAR-10",
        ("--precision", "bfloat16"),
        seeds=3,
        least=0.6939,
    ),
    Rung("deck_c", "deck_c", "deck C's net, 12,000 images of MNIST", seeds=1),
    Rung("resnet20", "resnet20", "ResNet-20, 3 epochs, CIFAR-10", seeds=1),
    Rung("optimizers", "optimizers"),
    Rung("activations", "activations"),
    Rung("dropout", "dropout"),
    Rung("batch_size", "batch_size"),
    Rung("network_size", "network_size"),
    Rung("batch_norm", "batch_norm"),
    Rung("fine_tune", "fine_tune"),
    Rung("universal", "universal"),
    Rung("ravine", "ravine"),
)

_NO_DATA = ("universal", "ravine")  # studies that need none
_DATA = "mnist"  # of all others
_CIFAR = ("deck_d_cifar", "resnet20", "activations")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Climbs the ladder, or some rungs of it."""

    rungs: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names; none means all."""
    data_dir: Path | None = None
    """Folder with MNIST and CIFAR-10; None: where each experiment looks."""
    out: Path = Path("runs/ladder")
    """Folder below which the runs are made."""
    results: Path = records.RESULTS
    """Folder of the records."""
    fresh: bool = False
    """Makes every run anew, also those that are complete."""


def command(rung: Rung) -> str:
    """What a user types for one run of it."""
    given = list(rung.flags)
    if rung.module not in (*_CIFAR, *_NO_DATA):
        given = ["DATA=mnist", *_in_make(given)]
    else:
        given = _in_make(given)
    return " ".join(["make", f"train-{rung.module}", *given])


def _in_make(flags: list[str]) -> list[str]:
    return [f'ARGS="{shlex.join(flags)}"'] if flags else []


def climb(rung: Rung, settings: Settings, screen: Screen) -> records.Record:
    """Makes what is missing of a rung and returns its record.

    Raises:
      DataError: a run failed; its own message stands above.
    """
    base = [sys.executable, "-m", f"experiments.{rung.module}", *rung.flags]
    if rung.module not in _NO_DATA:
        if settings.data_dir is not None:
            base += ["--data-dir", str(settings.data_dir)]
        if rung.module not in _CIFAR:
            base += ["--data", _DATA]
    out = settings.out / rung.name
    if not rung.seeds:
        _start([*base, "--out", str(out), *(["--fresh"] if settings.fresh else [])], screen)
        newest = max(out.glob("*/study-*/record.json"), key=lambda path: path.stat().st_mtime)
        return records.of_study(rung.name, command(rung), read_json(newest, error=DataError))
    runs = []
    for seed in range(rung.seeds):
        again = [] if settings.fresh else ["--resume", "auto"]
        _start([*base, "--out", str(out), "--seed", str(seed), *again], screen)
        made = [
            run
            for run in RunFolder.list_runs(out, rung.module)
            if run.record.exists() and run.read_record()["seed"] == seed
        ]
        if not made:
            raise DataError(f"{out}: no run with seed {seed} is complete.")
        runs.append((read_json(made[-1].config, error=DataError), made[-1].read_record()))
    return records.of_runs(rung.name, rung.what, command(rung), rung.least, runs)


def _start(arguments: list[str], screen: Screen) -> None:
    screen.say(f"\n$ {shlex.join(['python', *arguments[1:]])}")
    status = subprocess.run(arguments, check=False).returncode  # noqa: S603  (our own modules)
    # 1 is also a figure that one seed has not met; the mean of all decides.
    if status not in (0, 1):
        raise DataError(f"it ended with status {status}; the same command goes on.")


def main(arguments: list[str] | None = None) -> int:
    """Runs the rungs, writes their records, and returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m experiments.ladder", args=arguments)
    screen = Screen()
    by_name = {rung.name: rung for rung in RUNGS}
    try:
        for name in settings.rungs:
            if name not in by_name:
                raise ConfigError(f"rung {name!r} is unknown: use any of {', '.join(by_name)}.")
        missed = []
        for rung in [by_name[name] for name in settings.rungs] or RUNGS:
            record = climb(rung, settings, screen)
            storage.write_bytes(
                settings.results / f"{rung.name}.json", records.dumps(record).encode()
            )
            if record["met"] is False:
                missed.append(rung.name)
    except KeyboardInterrupt:
        print("stopped; the same command goes on.", file=sys.stderr)
        return 130
    except ConfigError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 1
    screen.say("\nrecords: " + str(settings.results) + "; `make results` makes the tables")
    if missed:
        screen.say(f"NOT MET: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
