"""LeNet-5 on MNIST with distorted training images, as LeCun et al. 1998 trained their best.

Command:   make train-lenet_distortions  (settings: python -m experiments.lenet_distortions --help)
Expected:  MNIST 99.5 % of the 10,000 test images, mean of 3 seeds.
Time:      MNIST 7 minutes on one CPU core (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

from experiments import lenet
from experiments.harness.config import Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import data
from jaxcnn.data.batches import Augment


@dataclasses.dataclass(frozen=True)
class DistortionsConfig(lenet.LeNetConfig):
    """LeNet-5 with distorted training images."""

    degrees: float = 10.0
    """Distorted images are turned by up to so many degrees,"""
    zoom: float = 0.1
    """enlarged or reduced by up to this fraction,"""
    shear: float = 10.0
    """and slanted by up to so many degrees."""
    distorted: float = 0.5
    """Fraction of the training images that are distorted; all are moved by up to --shift pixels."""


def distorted(config: DistortionsConfig, recipe: Recipe) -> Augment | None:
    """Turns, zooms and slants some of the training images, and moves all by whole pixels."""
    affine = data.Affine(degrees=config.degrees, zoom=config.zoom, shear=config.shear)
    return data.Compose((data.Sometimes(affine, config.distorted), data.Shift(recipe.shift)))


RECIPE = Recipe(
    epochs=80,
    batch_size=128,
    rate=0.1,
    weight_decay=2e-4,
    shift=1,
    validation=5_000,
    expected=None,
)

EXPERIMENT = Experiment(
    name="lenet_distortions",
    config=DistortionsConfig,
    title=lambda config: f"LeNet-5 with distortions, seed {config.seed}",
    model=lenet.model,
    recipes={
        "mnist": dataclasses.replace(RECIPE, expected=0.995),
        "digits": dataclasses.replace(RECIPE, epochs=60, batch_size=32, validation=0),
        "": RECIPE,
    },
    first_layer="conv1",
    maps=("act1", "pool1", "act2", "pool2"),
    augment=distorted,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
