"""Deck C's example 4: learning algorithms side by side, each at its best rate.

Command:   make train-optimizers       (settings: python -m experiments.optimizers --help)
Expected:  the deck shows curves and prints no figure; the table and the curves are the result.
           12,000 training images of MNIST (2,000 of them held out to choose the rate from a grid
           with seed 0), 2,000 test images, deck C's network, 2 epochs, 3 seeds.
Time:      26 minutes on one CPU core beside other trainings.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

from experiments.harness.choose import best_rate, mean, percent
from experiments.harness.lab import Figures, Lab, Recipe, last
from experiments.harness.study import DataStudyConfig, Findings, Study, main
from jaxcnn import models, report
from jaxcnn.optim import OptimizerName

GRIDS: dict[OptimizerName, tuple[float, ...]] = {
    "sgd": (0.03, 0.1, 0.3),
    "momentum": (0.01, 0.03, 0.1),
    "nesterov": (0.01, 0.03, 0.1),
    "adagrad": (0.003, 0.01, 0.03),
    "rmsprop": (1e-4, 3e-4, 1e-3),
    "adam": (3e-4, 1e-3, 3e-3),
}
"""The rates that are tried with each."""


@dataclasses.dataclass(frozen=True)
class OptimizersConfig(DataStudyConfig):
    """Deck C's example 4: learning algorithms side by side."""

    train_images: int = 12_000
    """Training images: the first so many."""
    validation: int = 2_000
    """How many of them are held out to choose rates."""
    test_images: int = 2_000
    """Test images: the first so many."""
    epochs: int = 2
    """Passes over the training images."""
    batch_size: int = 125
    """Images of a step. It should divide their number (10,000): at a constant rate one last step on
    16 images can undo a training, and did: 96 % before it, 38 % after it (SGD 0.3, seed 1)."""
    hidden: int = 1024
    """Units of the network's dense layer."""


def run(config: OptimizersConfig, lab: Lab) -> Findings:
    """Finds each optimizer's rate, then trains with every seed."""
    splits = lab.splits
    few = np.arange(min(config.train_images, len(splits.train)))
    rest, validation = splits.train.take(few, "first").hold_out(
        min(config.validation, len(few) // 5), 0
    )
    tests = np.arange(min(config.test_images, len(splits.test)))
    held = {"validation": validation, "test": splits.test.take(tests, "first")}
    model = models.deck_c_net(hidden=config.hidden, classes=len(splits.train.classes))

    def train(name: OptimizerName, rate: float, seed: int) -> Figures:
        recipe = Recipe(name, rate, config.epochs, config.batch_size, log_every=5)
        title = f"{name} {rate:g}, seed {seed}"
        return lab.train(title, model, rest, recipe, seed=seed, evaluate_on=held)

    rows: list[dict[str, Any]] = []
    series = {}
    reached: dict[str, list[float]] = {}
    for name, rates in GRIDS.items():
        rate = best_rate(rates, lambda rate, name=name: train(name, rate, 0))  # type: ignore[misc]
        runs = [train(name, rate, seed) for seed in range(config.seeds)]
        reached[name] = [last(figures, "test") for figures in runs]
        points = runs[0]["train"]
        series[f"{name} {rate:g}"] = ([p[0] for p in points], [p[1] for p in points])
        rows.append(
            {
                "optimizer": name,
                "rates tried": ", ".join(f"{r:g}" for r in rates),
                "best": f"{rate:g}",
                "training loss at the end": f"{mean([r['train'][-1][1] for r in runs]):.4f}",
                "test accuracy": percent(reached[name]),
            }
        )
    order = sorted(reached, key=lambda name: -mean(reached[name]))
    first, worst = order[0], order[-1]
    answer = (
        f"After {config.epochs} epochs, each at its best rate, {first} is ahead with "
        f"{percent(reached[first])} of the test images and {worst} last with "
        f"{percent(reached[worst])}."
    )
    figure = report.curves(series, x_label="step", y_label="training loss", log_y=True)
    return Findings(
        answer,
        rows,
        pictures=[("curves", "Training loss, seed 0, each at its best rate", figure)],
        figures={"test accuracy": reached},
    )


STUDY = Study("optimizers", OptimizersConfig, "deck C's example 4: learning algorithms", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
