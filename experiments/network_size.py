"""Depth and width (deck B's common training issues): what a larger network buys.

Command:   make train-network_size     (settings: python -m experiments.network_size --help)
Expected:  no figure in the deck. Stages of 5x5 convolution, ReLU and pooling, as in deck D's
           network, on 10,000 images of MNIST, 6 epochs, 3 seeds.
Time:      12 minutes on one CPU core beside another training (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np

import jaxcnn
from experiments.harness.choose import mean, percent
from experiments.harness.lab import Figures, Lab, Recipe, last
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import nn, report
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class NetworkSizeConfig(DataStudyConfig):
    """Depth and width."""

    images: int = 10_000
    """Training images: the first so many."""
    depths: tuple[int, ...] = (0, 1, 2, 3)
    """Stages of convolution and pooling; 0 is logistic regression."""
    widths: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Features of the first stage; each further stage has twice as many."""
    depth: int = 2
    """Stages where the width changes."""
    width: int = 16
    """Width where the depth changes."""
    rate: float = 0.02
    """Learning rate, for momentum 0.9."""
    epochs: int = 6
    """Passes over the training images."""
    batch_size: int = 100
    """Images of a step."""


def network(depth: int, width: int, classes: int) -> Layer:
    """`depth` stages, the first of `width` features, then one dense layer."""
    layers: dict[str, Layer] = {}
    for number in range(1, depth + 1):
        layers |= {
            f"conv{number}": nn.Conv(width * 2 ** (number - 1), 5, padding=2),
            f"act{number}": nn.relu,
            f"pool{number}": nn.MaxPool(2, rounding="floor"),
        }
    return nn.chain(**layers, flatten=nn.Flatten(), logits=nn.Dense(classes))


def run(config: NetworkSizeConfig, lab: Lab) -> Findings:
    """Trains networks of several depths, then of several widths."""
    splits = lab.splits
    part = splits.train.take(np.arange(min(config.images, len(splits.train))), "first")
    held = {"whole": part, "test": splits.test}

    def train(depth: int, width: int, seed: int) -> Figures:
        recipe = Recipe("momentum", config.rate, config.epochs, config.batch_size, log_every=1000)
        model = network(depth, width, len(part.classes))
        title = f"depth {depth}, width {width}, seed {seed}"
        return lab.train(title, model, part, recipe, seed=seed, evaluate_on=held)

    rows: list[dict[str, Any]] = []
    tests: dict[tuple[int, int], list[float]] = {}
    sizes: dict[tuple[int, int], int] = {}
    shapes = [(d, config.width) for d in config.depths] + [(config.depth, w) for w in config.widths]
    for depth, width in dict.fromkeys(shapes):
        runs = [train(depth, width, seed) for seed in range(config.seeds)]
        table = jaxcnn.ledger(network(depth, width, len(part.classes)), part.image_shape)
        tests[depth, width] = [last(r, "test") for r in runs]
        sizes[depth, width] = table.params
        rows.append(
            {
                "stages": depth,
                "features of the first": width if depth else "-",
                "parameters": f"{table.params:,}",
                "multiply-adds": f"{table.macs:,}",
                "training accuracy": percent([last(r, "whole") for r in runs]),
                "test accuracy": percent(tests[depth, width]),
            }
        )
    thin, wide = ((config.depth, w) for w in (min(config.widths), max(config.widths)))
    flat, deep = ((d, config.width) for d in (min(config.depths), max(config.depths)))
    answer = (
        f"From {flat[0]} to {deep[0]} stages the test accuracy goes from "
        f"{percent(tests[flat])} to {percent(tests[deep])}; from {thin[1]} to {wide[1]} features "
        f"in {config.depth} stages from {percent(tests[thin])} to {percent(tests[wide])}."
    )
    claims = [
        Claim(
            "depth helps",
            f"{deep[0]} stages above {flat[0]}",
            f"{100 * (mean(tests[deep]) - mean(tests[flat])):+.2f} points",
            mean(tests[deep]) > mean(tests[flat]),
        ),
        Claim(
            "width helps",
            f"{wide[1]} features above {thin[1]}",
            f"{100 * (mean(tests[wide]) - mean(tests[thin])):+.2f} points",
            mean(tests[wide]) > mean(tests[thin]),
        ),
    ]
    kinds = {
        f"{config.depth} stages, widths {config.widths}": [
            (config.depth, width) for width in config.widths
        ],
        f"width {config.width}, stages {config.depths}": [
            (depth, config.width) for depth in config.depths
        ],
    }
    series = {
        label: (
            [float(sizes[shape]) for shape in chosen],
            [100 * (1 - mean(tests[shape])) for shape in chosen],
        )
        for label, chosen in kinds.items()
    }
    figure = report.curves(
        series, x_label="parameters", y_label="test error in %", log_x=True, log_y=True
    )
    return Findings(
        answer,
        rows,
        claims,
        [("curves", "Test error against parameters", figure)],
        {"test accuracy": {f"{d} stages, width {w}": v for (d, w), v in tests.items()}},
    )


STUDY = Study("network_size", NetworkSizeConfig, "depth and width", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
