"""ResNet-20 on CIFAR-10 (He et al. 2016, table 6).

Command:   make train-resnet20         (settings: python -m experiments.resnet20 --help)
Expected:  a short schedule that a CPU can carry, 3 epochs: what it reaches stands in
           docs/results.md. As long as the paper's, for 91.5 %, on a GPU:
           make train-resnet20 EPOCHS=164 ARGS="--expected 0.915"
           (a cosine where the paper divides the rate by 10 twice). Not run so far.
Time:      3 epochs: 23 minutes on one CPU core beside other work (x86-64, AVX-512).
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
class ResNet20Config(Config):
    """ResNet-20 on CIFAR-10."""

    data: DataName = "cifar10"
    """Data set."""
    preprocess: Preprocess = "standardize"
    """From stored pixels to input; see the other experiments."""
    crop: int = 4
    """Training images are cropped from ones with so many zeros around, and mirrored at random."""


def model(config: ResNet20Config, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """ResNet-20, whatever the size of the images."""
    del config, image_shape  # the layers adapt
    return models.resnet20(classes)


def cropped(config: ResNet20Config, recipe: Recipe) -> Augment | None:
    """Random crops and mirror images."""
    del recipe
    return data.Compose((data.RandomCrop(config.crop), data.Flip()))


RECIPE = Recipe(
    epochs=3,
    batch_size=128,
    rate=0.1,
    weight_decay=5e-4,
    shift=0,
    validation=0,
    expected=None,
)

EXPERIMENT = Experiment(
    name="resnet20",
    config=ResNet20Config,
    title=lambda config: f"ResNet-20, seed {config.seed}",
    model=model,
    recipes={"": RECIPE},
    first_layer="stem",
    maps=("act", "block1_3", "block2_3", "block3_3"),
    augment=cropped,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
