"""Batch normalization on and off (decks A and B): rates that it allows, and what it is worth.

Command:   make train-batch_norm       (settings: python -m experiments.batch_norm --help)
Expected:  the decks say that it speeds up training and allows larger rates; no figure. The six
           convolutions of `models.small_cnn` with and without it, 10,000 images of MNIST, 3 epochs,
           rates from 0.003 to 1 with momentum 0.9, 3 seeds.
Time:      22 minutes on one CPU core beside other trainings.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

from experiments.harness.choose import mean, percent
from experiments.harness.lab import Figures, Lab, Recipe, last
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import initializers, models, nn, report
from jaxcnn.layer import Layer

KINDS = ("with batch norm", "without")


@dataclasses.dataclass(frozen=True)
class BatchNormConfig(DataStudyConfig):
    """Batch normalization on and off."""

    images: int = 10_000
    """Training images: the first so many."""
    validation: int = 2_000
    """How many of them are held out to choose rates."""
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    """Learning rates, for momentum 0.9."""
    epochs: int = 3
    """Passes over the training images."""
    batch_size: int = 100
    """Images of a step."""


def network(kind: str, classes: int) -> Layer:
    """`models.small_cnn`, or the same convolutions with biases in place of the norms."""
    normed = models.small_cnn(classes)
    if kind == KINDS[0]:
        return normed
    layers: dict[str, Layer] = {}
    for name, layer in normed.layers:
        if isinstance(layer, nn.Conv):
            layers[name] = dataclasses.replace(layer, bias=True, kernel_init=initializers.he_normal)
        elif not isinstance(layer, nn.BatchNorm):
            layers[name] = layer
    return nn.chain(**layers)


def run(config: BatchNormConfig, lab: Lab) -> Findings:
    """Trains both kinds at every rate with seed 0, and at the best with all seeds."""
    splits = lab.splits
    few = np.arange(min(config.images, len(splits.train)))
    rest, validation = splits.train.take(few, "first").hold_out(
        min(config.validation, len(few) // 5), 0
    )
    held = {"validation": validation, "test": splits.test}

    def train(kind: str, rate: float, seed: int) -> Figures:
        recipe = Recipe("momentum", rate, config.epochs, config.batch_size, log_every=10)
        title = f"{kind} {rate:g}, seed {seed}"
        model = network(kind, len(rest.classes))
        return lab.train(title, model, rest, recipe, seed=seed, evaluate_on=held)

    def accuracy(kind: str, rate: float) -> float:
        return last(train(kind, rate, 0), "validation")

    rows: list[dict[str, Any]] = []
    by_rate: dict[str, tuple[list[float], list[float]]] = {}
    largest, best = {}, {}
    for kind in KINDS:
        found = [accuracy(kind, rate) for rate in config.rates]
        by_rate[kind] = (list(config.rates), [100 * a for a in found])
        rate = config.rates[int(np.argmax(found))]
        # "Works": nine in ten at least, where chance is one in ten.
        largest[kind] = max([r for r, a in zip(config.rates, found, strict=True) if a > 0.9] + [0])
        runs = [train(kind, rate, seed) for seed in range(config.seeds)]
        best[kind] = [last(r, "test") for r in runs]
        rows.append(
            {
                "network": kind,
                "best rate": f"{rate:g}",
                "largest rate that works": f"{largest[kind]:g}" if largest[kind] else "none",
                "validation accuracy after 1 epoch": percent([r["validation"][0][2] for r in runs]),
                "test accuracy": percent(best[kind]),
            }
        )
    normed, plain = KINDS
    answer = (
        f"With batch norm rates up to {largest[normed]:g} work, without it up to "
        f"{largest[plain]:g}; after {config.epochs} epochs, each at its best rate, the test "
        f"accuracy is {percent(best[normed])} against {percent(best[plain])}."
    )
    claims = [
        Claim(
            "batch norm allows larger rates",
            f"above {largest[plain]:g}",
            f"{largest[normed]:g}",
            largest[normed] > largest[plain],
        ),
        Claim(
            "batch norm learns faster",
            "higher test accuracy after the same epochs",
            f"{100 * (mean(best[normed]) - mean(best[plain])):+.2f} points",
            mean(best[normed]) > mean(best[plain]),
        ),
    ]
    figure = report.curves(
        by_rate, x_label="learning rate", y_label="validation accuracy in %, seed 0", log_x=True
    )
    return Findings(
        answer,
        rows,
        claims,
        [("rates", f"Accuracy after {config.epochs} epochs against the rate", figure)],
        {"validation accuracy": {kind: values for kind, (_, values) in by_rate.items()}},
    )


STUDY = Study("batch_norm", BatchNormConfig, "batch normalization on and off", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
