"""A small experiment, run as any other: `python -m tests.chaos.tiny --resume auto ...`.

Dropout, batch norm, accumulation, augmentation and a plateau policy on a made-up data set, through
the very `main` that `python -m experiments.lenet` calls. Only the pictures at the end are left
out, to be quick.
"""

from __future__ import annotations

import sys

import experiments.harness.job
from experiments.harness import pictures
from experiments.harness.config import Config, Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import nn
from jaxcnn.data import Splits
from tests.conftest import blobs

EXPERIMENT = Experiment(
    name="tiny",
    config=Config,
    title=lambda config: f"a tiny network, seed {config.seed}",
    model=lambda config, shape, classes: nn.chain(
        conv=nn.Conv(4, 3),
        norm=nn.BatchNorm(),
        act=nn.relu,
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.5),
        logits=nn.Dense(classes),
    ),
    recipes={
        "": Recipe(
            epochs=30,
            batch_size=10,
            rate=0.002,
            weight_decay=1e-3,
            shift=1,
            validation=50,
            expected=0.2,
        )
    },
    first_layer="conv",
    maps=(),
)

SETTINGS = [
    "--plateau",
    "reduce",
    "--accumulate",
    "2",
    "--log-every",
    "7",
    "--schedule",
    "constant",
]
"""Beside the flags given: what makes resuming hard."""


def load(*args: object, **kwargs: object) -> Splits:
    """In place of `data.load`."""
    return Splits(train=blobs(250, seed=1), test=blobs(45, seed=2))


if __name__ == "__main__":
    experiments.harness.job.data.load = load
    pictures.draw = lambda *args, **kwargs: []
    sys.exit(main(EXPERIMENT, [*SETTINGS, *sys.argv[1:]]))
