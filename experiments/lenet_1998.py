"""LeNet-5 as in 1998, with tanh and average pooling, on MNIST.

Command:   make train-lenet_1998       (settings: python -m experiments.lenet_1998 --help)
Expected:  MNIST 99.05 % of the 10,000 test images, mean of 5 seeds: the paper's 0.95 % error,
           which LeCun et al. 1998 reach without distortions after 20 passes.
Time:      3 minutes beside another training, on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

from experiments import lenet
from experiments.harness.config import Recipe
from experiments.harness.runner import main
from jaxcnn.models.lenet import Variant


@dataclasses.dataclass(frozen=True)
class LeNet1998Config(lenet.LeNetConfig):
    """LeNet-5 as in 1998."""

    variant: Variant = "1998"
    """modern: ReLU and max pooling. 1998: tanh and average pooling."""


RECIPE = Recipe(
    epochs=20,
    batch_size=64,
    rate=0.05,
    weight_decay=2e-4,
    shift=0,
    validation=5_000,
    expected=None,
)

EXPERIMENT = dataclasses.replace(
    lenet.EXPERIMENT,
    name="lenet_1998",
    config=LeNet1998Config,
    recipes={
        "mnist": dataclasses.replace(RECIPE, expected=0.9905),
        "digits": dataclasses.replace(RECIPE, epochs=60, batch_size=32, validation=0),
        "": RECIPE,
    },
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
