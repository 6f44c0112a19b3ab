"""Logistic regression on handwritten digits: the first rung of the ladder.

Command:   make train-logistic         (settings: python -m experiments.logistic --help)
Expected:  MNIST 92.0 % of the 10,000 test images in each run.
Time:      MNIST 15 s on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

from experiments.harness.config import Config, Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import models
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class LogisticConfig(Config):
    """Logistic regression on handwritten digits."""


def model(config: LogisticConfig, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """One dense layer, whatever the size of the images."""
    del config, image_shape  # the layer adapts
    return models.logistic_regression(classes)


RECIPE = Recipe(
    epochs=20,
    batch_size=128,
    rate=0.05,
    weight_decay=0.0,
    shift=0,
    validation=5_000,
    expected=None,
)

EXPERIMENT = Experiment(
    name="logistic",
    config=LogisticConfig,
    title=lambda config: f"logistic regression, seed {config.seed}",
    model=model,
    recipes={
        "mnist": dataclasses.replace(RECIPE, expected=0.92),
        "digits": dataclasses.replace(RECIPE, epochs=60, batch_size=32, validation=0),
        "": RECIPE,
    },
    first_layer="logits",
    maps=(),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
