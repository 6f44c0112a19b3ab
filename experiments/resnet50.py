"""ResNet-50 on a folder of pictures, such as ImageNet's.

Command:   make train-resnet50 DATA_DIR=folder  (settings: python -m experiments.resnet50 --help)
           The folder is as for AlexNet: train/CLASS/NAME.jpg and val/CLASS/NAME.jpg.
Recipe:    Goyal et al. 2017: 90 epochs, batch 256, Nesterov momentum 0.9, rate 0.1, L2 1e-4; their
           five epochs of warm-up with ARGS="--warmup 5"; a cosine instead of their three steps.
           For another batch size see --rate-rule: nothing scales the rate silently.
Expected:  none is stated: training on ImageNet was not run by this project. Goyal et al. report
           76.4 % of the validation pictures (one centre crop). Pass --expected for a figure.
Time:      not measured: it is meant for GPUs.
"""

from __future__ import annotations

import dataclasses
import sys

from experiments.harness.config import Preprocess, Recipe
from experiments.harness.folder import FolderConfig, load
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import models
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class ResNet50Config(FolderConfig):
    """ResNet-50 on a folder of pictures."""

    preprocess: Preprocess = "standardize"
    """From stored pixels to input: pixels / 255 less each channel's mean, over its deviation."""
    eval_batch_size: int = 128
    """Images at a time in evaluation; does not change results."""


def model(config: ResNet50Config, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """The network for images of any size from 32."""
    del config, image_shape  # the layers adapt
    return models.resnet50(classes)


EXPERIMENT = Experiment(
    name="resnet50",
    config=ResNet50Config,
    title=lambda config: f"ResNet-50, seed {config.seed}",
    model=model,
    recipes={
        "": Recipe(
            epochs=90,
            batch_size=256,
            rate=0.1,
            weight_decay=1e-4,
            shift=0,
            validation=0,
            expected=None,
        )
    },
    first_layer="stem",
    maps=("act", "block1_3/act", "block2_4/act"),
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
