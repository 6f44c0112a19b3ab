"""What a study works with: data, trainings by name, and a memory of those already made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.harness.screen import Screen
from jaxcnn import losses, optim, storage
from jaxcnn.data import Dataset, Scale, Splits, steps_per_epoch
from jaxcnn.data.batches import Augment
from jaxcnn.errors import DataError, NumericalError
from jaxcnn.layer import Layer
from jaxcnn.optim import OptimizerName, ScheduleName
from jaxcnn.train import StopRequest, fit
from jaxcnn.train.precision import Prepare
from jaxcnn.typing import Params, State
from jaxcnn.untrusted import parse_json, read_bytes

_MOST = 256 << 20  # bytes of a memory

Figures = dict[str, Any]
"""JSON values."""


class StoppedError(Exception):
    """Ctrl-C, SIGTERM or a time limit came while a study worked."""


class Recipe(NamedTuple):
    """How one network of a study is trained."""

    optimizer: OptimizerName
    rate: float
    epochs: int
    batch_size: int = 128
    schedule: ScheduleName = "constant"
    weight_decay: float = 0.0
    augment: Augment | None = None
    prepare: Prepare = Scale()
    log_every: int = 50


class Trained(NamedTuple):
    """A network at the end of its training."""

    params: Params
    state: State
    figures: Figures  # see `Lab.train`


class Lab:
    """Trains networks for a study, each once.

    Every training has a name that is unique in the study and holds whatever sets it apart, seed
    included. Its figures are kept in a file of the study's folder as soon as it is over: a study
    that was stopped goes on with the first training that is not there.

    Args:
      file: the memory, JSON lines.
      splits: the data; None where a study needs none.
      screen: told of every training.
      stop: asked while training; true ends the study.
    """

    def __init__(
        self, file: Path, splits: Splits | None, screen: Screen, stop: StopRequest
    ) -> None:
        self._file = file
        self._splits = splits
        self._screen = screen
        self._stop = stop
        self._known = _read(file)

    @property
    def splits(self) -> Splits:
        """The data."""
        assert self._splits is not None, "this study has no data"  # noqa: S101
        return self._splits

    def once(self, name: str, make: Callable[[], Figures]) -> Figures:
        """What `make` returned the first time, now or when the study was started before.

        Raises:
          StoppedError: the user wants an end.
        """
        if name not in self._known:
            if self._stop():
                raise StoppedError
            # Through JSON, so that both ways give the same values.
            self._known[name] = json.loads(json.dumps(make(), allow_nan=False))
            line = json.dumps({"name": name, "figures": self._known[name]}, allow_nan=False)
            storage.append_line(self._file, line)
            self._screen.say(f"{name}: {_shown(self._known[name])}")
        return self._known[name]

    def train(
        self,
        name: str,
        model: Layer,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        evaluate_on: Mapping[str, Dataset] | None = None,
    ) -> Figures:
        """Trains once and returns the figures.

        Returns:
          `train`: [step, loss, accuracy] of each interval of the log; for each set of
          `evaluate_on` [epoch, loss, accuracy] after each epoch; `seconds` of training steps;
          `diverged`: the step at which numbers were not finite, else None.
        """

        def make() -> Figures:
            try:
                trained = self.fit(model, dataset, recipe, seed=seed, evaluate_on=evaluate_on)
            except NumericalError as error:
                step = int(error.progress.train_state.step)  # type: ignore[attr-defined]
                return {"train": [], **{k: [] for k in evaluate_on or {}}, "diverged": step}
            return trained.figures

        return self.once(name, make)

    def fit(
        self,
        model: Layer,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        evaluate_on: Mapping[str, Dataset] | None = None,
        start: Any = None,
    ) -> Trained:
        """Trains, whether it was done before or not, for studies that need the network itself.

        Raises:
          StoppedError: the user wants an end.
          NumericalError: the training diverged.
        """
        per_epoch = steps_per_epoch(len(dataset), recipe.batch_size)
        total = recipe.epochs * per_epoch
        rate = optim.schedule(
            recipe.schedule,
            recipe.rate,
            total=total,
            warmup=0 if recipe.schedule == "constant" else max(1, total // 20),
        )
        result = fit(
            model,
            dataset,
            loss=losses.softmax_cross_entropy,
            optimizer=optim.optimizer(recipe.optimizer, rate, weight_decay=recipe.weight_decay),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=seed,
            prepare=recipe.prepare,
            augment=recipe.augment,
            evaluate_on=evaluate_on,
            start=start,
            log_every=recipe.log_every,
            should_stop=self._stop,
        )
        if not result.finished:
            raise StoppedError
        figures: Figures = {"train": [], **{k: [] for k in evaluate_on or {}}, "diverged": None}
        for line in result.history:
            if line["kind"] == "train":
                figures["train"].append([line["step"], line["loss"], line["accuracy"]])
            elif line["kind"] == "eval":
                figures[line["split"]].append([line["epoch"], line["loss"], line["accuracy"]])
        figures["seconds"] = round(result.seconds["train"], 2)
        return Trained(result.train_state.params, result.train_state.state, figures)


def last(figures: Figures, split: str) -> float:
    """The accuracy on `split` after the last epoch; 0 where the training diverged."""
    return float(figures[split][-1][2]) if figures[split] else 0.0


def _shown(figures: Figures) -> str:
    """One line of a training's figures."""
    if figures.get("diverged") is not None:
        return f"diverged at step {figures['diverged']}"
    parts = []
    for name, value in figures.items():
        if isinstance(value, float) or (isinstance(value, int) and value is not True):
            parts.append(f"{name} {value:.4g}")
        elif isinstance(value, list) and value and isinstance(value[-1], list):
            parts.append(f"{name} loss {value[-1][1]:.4f} accuracy {100 * value[-1][2]:.2f} %")
    return ", ".join(parts)


def _read(file: Path) -> dict[str, Figures]:
    """Whole lines of the memory, by name; half a line that a kill left at the end is cut off."""
    if not file.exists():
        return {}
    content = read_bytes(file, most=_MOST, error=DataError)
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        storage.write_bytes(file, whole)
    known = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        entry = parse_json(line.decode(errors="replace"), f"{file}:{number}", error=DataError)
        known[str(entry["name"])] = entry["figures"]
    return known
