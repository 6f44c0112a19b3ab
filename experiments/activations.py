"""Is ReLU "about 6 times faster" than tanh (decks C and E, after Krizhevsky et al. 2012)?

Command:   make train-activations      (settings: python -m experiments.activations --help)
Expected:  the decks' claim is the ratio of epochs to 25 % training error, on CIFAR-10. It is
           measured here with LeNet-5's shape on 10,000 images, momentum 0.9, each activation at
           the rate of a grid that is fastest for it, 3 seeds.
Time:      43 minutes on one CPU core beside another training (x86-64, AVX-512).
Data:      CIFAR-10 as tfds prepares it, in DATA_DIR; --data mnist or digits work as well.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

import numpy as np

from experiments.harness.choose import mean
from experiments.harness.lab import Figures, Lab, Recipe
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import models, nn, report
from jaxcnn.data import DataName
from jaxcnn.layer import Layer

ACTIVATIONS: dict[str, Layer] = {"relu": nn.relu, "tanh": nn.tanh, "sigmoid": nn.sigmoid}


@dataclasses.dataclass(frozen=True)
class ActivationsConfig(DataStudyConfig):
    """ReLU against tanh and sigmoid."""

    data: DataName = "cifar10"
    """Data set."""
    images: int = 10_000
    """Training images: the first so many."""
    error: float = 0.25
    """Training error to reach."""
    epochs: int = 60
    """At most so many passes."""
    batch_size: int = 128
    """Images of a step."""
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)
    """Learning rates that are tried with each activation."""


def network(act: Layer, classes: int) -> Layer:
    """LeNet-5 of today for unpadded images, with any activation in place of ReLU."""
    lenet = models.lenet5(classes=classes, padding=0)
    return nn.replace_layers(lenet, lambda layer: act if layer == nn.relu else layer)


def epochs_to(figures: Figures, accuracy: float) -> int | None:
    """The first epoch after which the whole training set is classified so well, or None."""
    return next((e for e, _, found in figures["whole"] if found >= accuracy), None)


def run(config: ActivationsConfig, lab: Lab) -> Findings:
    """Epochs to the training error, for each activation at its fastest rate."""
    train_set = lab.splits.train
    part = train_set.take(np.arange(min(config.images, len(train_set))), "first")

    def train(name: str, rate: float, seed: int) -> Figures:
        recipe = Recipe("momentum", rate, config.epochs, config.batch_size, log_every=1000)
        model = network(ACTIVATIONS[name], len(part.classes))
        title = f"{name} {rate:g}, seed {seed}"
        return lab.train(title, model, part, recipe, seed=seed, evaluate_on={"whole": part})

    def needed(figures: Figures) -> float:
        found = epochs_to(figures, 1 - config.error)
        return float("inf") if found is None else found

    def slowness(name: str, rate: float) -> tuple[float, float]:
        """Of seed 0: epochs needed; where the error is not reached, what is left of it counts."""
        figures = train(name, rate, 0)
        return needed(figures), -figures["whole"][-1][2]

    rows: list[dict[str, Any]] = []
    series, means = {}, {}
    for name in ACTIVATIONS:
        rate = min(config.rates, key=functools.partial(slowness, name))
        runs = [train(name, rate, seed) for seed in range(config.seeds)]
        counts = [needed(figures) for figures in runs]
        means[name] = mean(counts)
        curve = runs[0]["whole"]
        series[f"{name} {rate:g}"] = ([p[0] for p in curve], [1 - p[2] for p in curve])
        rows.append(
            {
                "activation": name,
                "rate": f"{rate:g}",
                "epochs to the error": ", ".join(
                    f"> {config.epochs}" if c == float("inf") else f"{c:.0f}" for c in counts
                ),
            }
        )
    never = [name for name, value in means.items() if value == float("inf")]
    if means["relu"] == float("inf"):
        answer = f"ReLU does not reach {100 * config.error:.0f} % in {config.epochs} epochs."
        ratio = None
    elif means["tanh"] == float("inf"):
        ratio = None
        answer = (
            f"ReLU reaches {100 * config.error:.0f} % training error after {means['relu']:.1f} "
            f"epochs, tanh not within {config.epochs}."
        )
    else:
        ratio = means["tanh"] / means["relu"]
        answer = (
            f"tanh needs {ratio:.1f} times the epochs of ReLU to reach {100 * config.error:.0f} % "
            f"training error, not 6 times."
            if not 4 <= ratio <= 8
            else f"tanh needs {ratio:.1f} times the epochs of ReLU, about as the decks say."
        )
    if "sigmoid" in never and "tanh" not in never:
        answer += f" Sigmoid does not reach it within {config.epochs} epochs."
    figure = report.curves(series, x_label="epoch", y_label="training error")
    claims = (
        [Claim("ReLU needs fewer epochs than tanh", "ratio > 1", f"ratio {ratio:.2f}", ratio > 1)]
        if ratio is not None
        else []
    )
    return Findings(
        answer,
        rows,
        claims,
        pictures=[("curves", "Training error, seed 0", figure)],
        figures={
            "epochs": {k: None if v == float("inf") else v for k, v in means.items()},
            "tanh / relu": ratio,
        },
    )


STUDY = Study("activations", ActivationsConfig, "ReLU against tanh and sigmoid", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
