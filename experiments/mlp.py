"""A multi-layer perceptron on handwritten digits: two hidden layers of 512 units.

Command:   make train-mlp              (settings: python -m experiments.mlp --help)
Expected:  MNIST 98.2 % of the 10,000 test images in each run.
Time:      MNIST 2 minutes on 2 CPU cores (x86-64, AVX-512).
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
class MLPConfig(Config):
    """A multi-layer perceptron on handwritten digits."""

    hidden: tuple[int, ...] = (512, 512)
    """Units of each hidden layer."""


def model(config: MLPConfig, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """Dense layers, whatever the size of the images."""
    del image_shape  # the layers adapt
    return models.mlp(config.hidden, classes)


RECIPE = Recipe(
    epochs=20,
    batch_size=128,
    rate=0.05,
    weight_decay=5e-4,
    shift=1,
    validation=5_000,
    expected=None,
)

EXPERIMENT = Experiment(
    name="mlp",
    config=MLPConfig,
    title=lambda config: f"MLP {'-'.join(map(str, config.hidden))}, seed {config.seed}",
    model=model,
    recipes={
        "mnist": dataclasses.replace(RECIPE, expected=0.982),
        "digits": dataclasses.replace(RECIPE, epochs=60, batch_size=32, validation=0),
        "": RECIPE,
    },
    first_layer="hidden1",
    maps=(),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
