"""ResNet-9 on CIFAR-10 in 24 epochs: the fast recipe, for a GPU.

Command:   make train-resnet9          (settings: python -m experiments.resnet9 --help)
Expected:  94.0 % of the 10,000 test images on the original pixels, as Page 2018 reports; not run so
           far here, where there is no GPU.
Time:      not measured: it is meant for GPUs.
Data:      CIFAR-10 as tfds prepares it, in DATA_DIR; it is not downloaded.
"""

from __future__ import annotations

import dataclasses
import sys

from experiments.harness.config import Config, Preprocess, Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import data, models
from jaxcnn.data import DataName
from jaxcnn.data.batches import Augment
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class ResNet9Config(Config):
    """ResNet-9 on CIFAR-10."""

    data: DataName = "cifar10"
    """Data set."""
    preprocess: Preprocess = "standardize"
    """From stored pixels to input; see the other experiments."""
    warmup: float | None = 5.0
    """Length of the linear warm-up, in --unit."""
    crop: int = 4
    """Training images are cropped from ones with so many zeros around, mirrored at random,"""
    cutout: int = 8
    """and a square of so many pixels is blanked."""


def model(config: ResNet9Config, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """ResNet-9, whatever the size of the images."""
    del config, image_shape  # the layers adapt
    return models.resnet9(classes)


def cropped(config: ResNet9Config, recipe: Recipe) -> Augment | None:
    """Random crops, mirror images, and a blank square."""
    del recipe
    return data.Compose((data.RandomCrop(config.crop), data.Flip(), data.Cutout(config.cutout)))


EXPERIMENT = Experiment(
    name="resnet9",
    config=ResNet9Config,
    title=lambda config: f"ResNet-9, seed {config.seed}",
    model=model,
    recipes={
        "": Recipe(
            epochs=24,
            batch_size=512,
            rate=0.4,
            weight_decay=5e-4,
            shift=0,
            validation=0,
            expected=0.94,
        )
    },
    first_layer="stem",
    maps=("act", "pool1", "pool2", "pool3"),
    augment=cropped,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
