"""AlexNet on a folder of pictures, such as ImageNet's.

Command:   make train-alexnet DATA_DIR=folder  (settings: python -m experiments.alexnet --help)
           The folder holds train/CLASS/NAME.jpg and val/CLASS/NAME.jpg. To try it without
           ImageNet: python -m experiments.draw_folder pictures, then
           make train-alexnet DATA_DIR=pictures EPOCHS=4 ARGS="--batch-size 32 --rate 0.01"
Recipe:    Krizhevsky et al. 2012: 90 epochs, batch 128, momentum 0.9, rate 0.01, L2 5e-4, rate
           divided by 10 three times. Here pictures are cropped at random over 8 to 100 % of their
           area (Szegedy et al. 2015), and there is one stream of layers instead of two.
Expected:  none is stated: training on ImageNet was not run by this project. The paper's own two-GPU
           network reached 59.3 % (one network, ten crops a picture). Pass --expected for a figure.
Time:      1.8 s a step of 32 pictures on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

from experiments.harness.config import Recipe
from experiments.harness.folder import FolderConfig, load
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import models
from jaxcnn.layer import Layer
from jaxcnn.optim import OptimizerName, ScheduleName


@dataclasses.dataclass(frozen=True)
class AlexNetConfig(FolderConfig):
    """AlexNet on a folder of pictures."""

    size: int = 227
    """Side of the square that the network sees, in pixels."""
    optimizer: OptimizerName = "momentum"
    """How gradients become updates."""
    schedule: ScheduleName = "step"
    """How the learning rate changes."""
    eval_batch_size: int = 128
    """Images at a time in evaluation; does not change results."""


def model(config: AlexNetConfig, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """The network in one stream."""
    del config, image_shape  # the layers adapt
    return models.alexnet(classes=classes)


EXPERIMENT = Experiment(
    name="alexnet",
    config=AlexNetConfig,
    title=lambda config: f"AlexNet, seed {config.seed}",
    model=model,
    recipes={
        "": Recipe(
            epochs=90,
            batch_size=128,
            rate=0.01,
            weight_decay=5e-4,
            shift=0,
            validation=0,
            expected=None,
        )
    },
    first_layer="conv1",
    maps=("act1", "act2", "act5"),
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
