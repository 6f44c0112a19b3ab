"""Batch size and step size (deck B's common training issues): what large batches cost, and why.

Command:   make train-batch_size       (settings: python -m experiments.batch_size --help)
Expected:  no figure in the deck. LeNet-5 on 20,000 images of MNIST, 4 epochs, momentum 0.9; the
           rate either stays what it is at 64 images, or grows with the batch.
Time:      2 minutes on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

from experiments.harness.choose import mean, percent
from experiments.harness.lab import Figures, Lab, Recipe, last
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import models, report


@dataclasses.dataclass(frozen=True)
class BatchSizeConfig(DataStudyConfig):
    """Batch size and step size."""

    images: int = 20_000
    """Training images: the first so many."""
    sizes: tuple[int, ...] = (16, 64, 256, 1024)
    """Images of a step."""
    rate: float = 0.02
    """Learning rate at the reference size."""
    reference: int = 64
    """Batch size that the rate is for."""
    epochs: int = 4
    """Passes over the training images."""


def run(config: BatchSizeConfig, lab: Lab) -> Findings:
    """Trains with each size at the same rate, and at the rate scaled with the size."""
    splits = lab.splits
    part = splits.train.take(np.arange(min(config.images, len(splits.train))), "first")
    padding = max(32 - part.image_shape[0], 0) // 2
    model = models.lenet5(classes=len(part.classes), padding=padding)

    def train(size: int, rate: float, seed: int) -> Figures:
        recipe = Recipe("momentum", rate, config.epochs, size, log_every=20)
        title = f"batch {size}, rate {rate:g}, seed {seed}"
        return lab.train(title, model, part, recipe, seed=seed, evaluate_on={"test": splits.test})

    rows: list[dict[str, Any]] = []
    found: dict[str, dict[int, list[float]]] = {"same rate": {}, "scaled rate": {}}
    for rule, tests in found.items():
        for size in config.sizes:
            factor = size / config.reference if rule == "scaled rate" else 1.0
            rate = config.rate * factor
            runs = [train(size, rate, seed) for seed in range(config.seeds)]
            tests[size] = [last(r, "test") for r in runs]
            seconds = [r["seconds"] for r in runs if "seconds" in r]
            rows.append(
                {
                    "batch": size,
                    "rate": f"{rate:g}",
                    "rule": rule,
                    "steps": config.epochs * -(-len(part) // size),
                    "test accuracy": percent(tests[size]),
                    "seconds of training": f"{mean(seconds):.1f}" if seconds else "diverged",
                }
            )
    same, scaled = found["same rate"], found["scaled rate"]
    small, large = min(config.sizes), max(config.sizes)
    loss = mean(same[small]) - mean(same[large])
    answer = (
        f"At the same rate and number of epochs, batches of {large} end {100 * loss:.2f} points "
        f"below batches of {small}, because they make {large // small} times fewer steps; at a "
        "rate that grows with the batch, without warm-up, they reach "
        f"{percent(scaled[large])} instead of {percent(same[large])}."
    )
    series = {
        rule: ([float(s) for s in tests], [100 * (1 - mean(v)) for v in tests.values()])
        for rule, tests in found.items()
    }
    figure = report.curves(
        series, x_label="images a step", y_label="test error in %", log_x=True, log_y=True
    )
    claim = Claim(
        "larger batches learn less in an epoch at the same rate",
        f"accuracy falls from {small} to {large}",
        f"{-100 * loss:+.2f} points",
        loss > 0,
    )
    return Findings(
        answer,
        rows,
        [claim],
        [("curves", "Test error against batch size", figure)],
        {rule: {str(k): v for k, v in tests.items()} for rule, tests in found.items()},
    )


STUDY = Study("batch_size", BatchSizeConfig, "batch size and step size", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
