"""Does dropout "roughly double the iterations to converge" (deck E), and what is it good for?

Command:   make train-dropout          (settings: python -m experiments.dropout --help)
Expected:  deck E's claim, held against the ratio of epochs to 1 % training error, measured without
           dropping; and less overfitting: a higher test accuracy at the end. 2,000 training images
           of MNIST, two convolutions and 256 hidden units, dropout 0.5 before each dense layer.
Time:      17 minutes beside another training, on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

from experiments.harness.choose import mean, percent
from experiments.harness.lab import Figures, Lab, Recipe, last
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import nn, report
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class DropoutConfig(DataStudyConfig):
    """Dropout on and off."""

    images: int = 2_000
    """Training images: the first so many."""
    rate: float = 0.5
    """Fraction dropped before each dense layer."""
    learning_rate: float = 0.02
    """For momentum 0.9."""
    error: float = 0.01
    """Training error that counts as converged."""
    epochs: int = 40
    """Passes over the training images."""
    batch_size: int = 100
    """Images of a step."""


def network(rate: float, classes: int) -> Layer:
    """Deck D's two convolutions and a hidden layer; `rate` 0 drops nothing."""
    return nn.chain(
        conv1=nn.Conv(16, 5, padding=2),
        act1=nn.relu,
        pool1=nn.MaxPool(2),
        conv2=nn.Conv(32, 5, padding=2),
        act2=nn.relu,
        pool2=nn.MaxPool(2),
        flatten=nn.Flatten(),
        drop1=nn.Dropout(rate),
        dense1=nn.Dense(256),
        act3=nn.relu,
        drop2=nn.Dropout(rate),
        logits=nn.Dense(classes),
    )


def run(config: DropoutConfig, lab: Lab) -> Findings:
    """Epochs to converge and test accuracy, with and without."""
    splits = lab.splits
    part = splits.train.take(np.arange(min(config.images, len(splits.train))), "first")
    held = {"whole": part, "test": splits.test}

    def train(rate: float, seed: int) -> Figures:
        recipe = Recipe(
            "momentum", config.learning_rate, config.epochs, config.batch_size, log_every=1000
        )
        model = network(rate, len(part.classes))
        title = f"dropout {rate:g}, seed {seed}"
        return lab.train(title, model, part, recipe, seed=seed, evaluate_on=held)

    rows: list[dict[str, Any]] = []
    epochs, tests, series = {}, {}, {}
    for rate in (0.0, config.rate):
        runs = [train(rate, seed) for seed in range(config.seeds)]
        epochs[rate] = [
            next((e for e, _, found in r["whole"] if found >= 1 - config.error), None) for r in runs
        ]
        tests[rate] = [last(r, "test") for r in runs]
        for split, curve in (("training", runs[0]["whole"]), ("test", runs[0]["test"])):
            series[f"{split} error, dropout {rate:g}"] = (
                [p[0] for p in curve],
                [max(1 - p[2], 1 / len(part)) for p in curve],
            )
        rows.append(
            {
                "dropout": f"{rate:g}",
                f"epochs to {100 * config.error:g} % training error": ", ".join(
                    f"> {config.epochs}" if e is None else str(e) for e in epochs[rate]
                ),
                "training accuracy": percent([last(r, "whole") for r in runs]),
                "test accuracy": percent(tests[rate]),
            }
        )
    claims = []
    converged = all(e is not None for counts in epochs.values() for e in counts)
    ratio = None
    if converged:
        ratio = mean([e or 0 for e in epochs[config.rate]]) / mean([e or 0 for e in epochs[0.0]])
        claims.append(
            Claim("dropout takes more iterations", "ratio > 1", f"ratio {ratio:.2f}", ratio > 1)
        )
    gain = mean(tests[config.rate]) - mean(tests[0.0])
    claims.append(
        Claim(
            "dropout overfits less",
            "higher test accuracy",
            f"{100 * gain:+.2f} points",
            gain > 0,
        )
    )
    slower = f"{ratio:.1f} times the epochs" if ratio else f"more than {config.epochs} epochs"
    answer = (
        f"With dropout {config.rate:g} it takes {slower} to converge, and the test accuracy is "
        f"{percent(tests[config.rate])} instead of {percent(tests[0.0])}."
    )
    figure = report.curves(series, x_label="epoch", y_label="error", log_y=True)
    return Findings(
        answer,
        rows,
        claims,
        [("curves", "Errors, seed 0", figure)],
        {"epochs": {f"{k:g}": v for k, v in epochs.items()}, "ratio": ratio},
    )


STUDY = Study("dropout", DropoutConfig, "dropout on and off", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
