"""Studies: experiments that train several networks to answer a question.

`main(STUDY)` does for a study what `runner.main` does for a single training: settings, data, run
folder, verdict, `record.json`, `report.html`, exit status. The folder's name is a function of
settings, data and code, so the same command goes on where an earlier one was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import tyro
from matplotlib.figure import Figure

import jaxcnn
from experiments.harness.job import load_by_name
from experiments.harness.lab import Lab, StoppedError
from experiments.harness.runner import EXIT_FAILED, EXIT_MET, EXIT_USAGE
from experiments.harness.screen import Screen
from jaxcnn import lock, report, storage
from jaxcnn.compilation import use_compile_cache
from jaxcnn.data import DataName, Splits
from jaxcnn.errors import ConfigError, JaxcnnError, explain
from jaxcnn.report import png
from jaxcnn.run import environment
from jaxcnn.train import stop_on_signals


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Settings that all studies share."""

    seeds: int = 3
    """Trainings of each kind, with seeds 0, 1, ..."""
    out: Path = Path("runs")
    """Folder below which the study's folder is made."""
    max_minutes: float | None = None
    """Time limit: then the study ends with status 124; the same command goes on."""
    fresh: bool = False
    """Forgets what an earlier start of the same command has trained already."""


@dataclasses.dataclass(frozen=True)
class DataStudyConfig(StudyConfig):
    """Settings of a study on a data set that is known by name."""

    data: DataName = "auto"
    """Data set. "auto" is MNIST, or the embedded digits where MNIST cannot be had."""
    data_dir: Path | None = None
    """Folder with the data. None: the cache, $TFDS_DATA_DIR and ~/tensorflow_datasets."""
    download: bool = True
    """Whether a data set that is nowhere may be downloaded."""


_UNCHECKED = ("out", "max_minutes", "fresh", "data_dir", "download")  # change no result

S = TypeVar("S", bound=StudyConfig)


class Claim(NamedTuple):
    """Something that the decks say, or that is asked, held against what was measured."""

    what: str
    asked: str
    measured: str
    met: bool


class Findings(NamedTuple):
    """What a study found.

    Attributes:
      answer: one sentence, made from the figures.
      rows: the table: one dict a row, the same columns in each.
      claims: what was asked, and whether it holds.
      pictures: (file name without its end, caption, figure).
      figures: JSON values for the record.
    """

    answer: str
    rows: Sequence[Mapping[str, Any]]
    claims: Sequence[Claim] = ()
    pictures: Sequence[tuple[str, str, Figure]] = ()
    figures: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Study(Generic[S]):
    """What sets one study apart.

    Attributes:
      name: of its module, its `make train-NAME` target and its folder of runs.
      config: the class of its settings.
      title: one line that says what is asked.
      run: makes the findings.
    """

    name: str
    config: type[S]
    title: str
    run: Callable[[S, Lab], Findings]


def main(study: Study[S], arguments: Sequence[str] | None = None) -> int:
    """Runs a study from the command line and returns the exit status.

    0: all claims hold. 1: one does not, or an error. 2: wrong settings. 124, 130, 143: stopped.
    """
    screen = Screen()
    program = f"python -m experiments.{study.name}"
    config = tyro.cli(study.config, prog=program, args=arguments)
    try:
        for name in ("seeds", "max_minutes"):
            value = getattr(config, name)
            if value is not None and not value > 0:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected more than 0.")
        with stop_on_signals() as stop:
            if config.max_minutes is not None:
                stop.limit(config.max_minutes)
            try:
                return _run(study, config, screen, stop)
            except StoppedError:
                screen.say(
                    "stopped; the trainings that are over are kept: the same command goes on."
                )
                return stop.status
    except ConfigError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_USAGE
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt as error:  # a second signal
        print("interrupted.", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)


def _run(study: Study[S], config: S, screen: Screen, stop: Any) -> int:
    began = time.perf_counter()
    use_compile_cache()
    screen.say(f"jaxcnn {jaxcnn.__version__}: {study.title}")
    splits = None
    if isinstance(config, DataStudyConfig):
        splits = load_by_name(study.name, config, screen)
    folder = config.out / study.name / f"study-{_identity(config, splits)}"
    storage.write_json(folder / "config.json", settings(config))  # and makes the folder
    with lock.hold(folder / "lock", screen.say):
        memory = folder / "trainings.jsonl"
        if config.fresh:
            storage.write_bytes(memory, b"")
        elif memory.exists():
            screen.say(f"trainings made before are taken from {memory} (--fresh forgets them)")
        found = study.run(config, Lab(memory, splits, screen, stop))
        return _finish(study, config, splits, folder, found, screen, began)


def _finish(
    study: Study[S],
    config: S,
    splits: Splits | None,
    folder: Path,
    found: Findings,
    screen: Screen,
    began: float,
) -> int:
    """Writes pictures, report and record; prints table and verdict."""
    pictures = [(f"{name}.png", caption, png(figure)) for name, caption, figure in found.pictures]
    for file, _, content in pictures:
        storage.write_bytes(folder / file, content)
    met = all(claim.met for claim in found.claims) if found.claims else None
    record = {
        "experiment": study.name,
        "title": study.title,
        "answer": found.answer,
        "rows": [dict(row) for row in found.rows],
        "claims": [claim._asdict() for claim in found.claims],
        "figures": dict(found.figures),
        "met": met,
        "config": settings(config),
        "data": _data(splits),
        "seconds": round(time.perf_counter() - began, 1),
        "environment": environment(),
    }
    page = report.render(
        study.title,
        result=found.answer,
        met=met,
        pictures=[(caption, content) for _, caption, content in pictures],
        grids={"Results": found.rows, "Claims": [_row(claim) for claim in found.claims]},
        tables={"Settings": settings(config), "Data": _data(splits)},
    )
    storage.write_bytes(folder / "report.html", page.encode())
    storage.write_json(folder / "record.json", record)

    screen.table(found.rows)
    for claim in found.claims:
        verdict = "met" if claim.met else "NOT MET"
        screen.say(f"{claim.what}: {claim.asked}; measured {claim.measured}: {verdict}")
    screen.say(f"\n{found.answer}")
    screen.say(f"report: {folder / 'report.html'}")
    return EXIT_MET if met is not False else EXIT_FAILED


def settings(config: StudyConfig) -> dict[str, Any]:
    """The settings that change results, as JSON values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
        if name not in _UNCHECKED
    }


def _row(claim: Claim) -> dict[str, str]:
    return {
        "claim": claim.what,
        "asked": claim.asked,
        "measured": claim.measured,
        "": "met" if claim.met else "NOT MET",
    }


def _data(splits: Splits | None) -> dict[str, Any]:
    if splits is None:
        return {}
    return {
        "name": splits.train.name.partition("/")[0],
        "source": splits.train.source,
        "train": splits.train.fingerprint,
        "test": splits.test.fingerprint,
    }


def _identity(config: StudyConfig, splits: Splits | None) -> str:
    """Sixteen digits that change with settings, data and code."""
    data = _data(splits)
    data.pop("source", None)
    content = json.dumps([settings(config), data, _code()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _code() -> str:
    """SHA-256 over the files that make the figures: those of jaxcnn and of the experiments."""
    sha = hashlib.sha256()
    for root in (Path(jaxcnn.__file__).parent, Path(__file__).parent.parent):
        for file in sorted(root.rglob("*.py")):
            sha.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return sha.hexdigest()
