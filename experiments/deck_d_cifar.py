"""Deck D's network on CIFAR-10: two 5x5 convolutions, 5 epochs.

Command:   make train-deck_d_cifar     (settings: python -m experiments.deck_d_cifar --help)
Expected:  the deck's 69.39 % of the 10,000 test images after 5 epochs, mean of 3 seeds, here on
           images that were re-encoded as JPEG. It takes standardized images, batches of 50, and
           Nesterov momentum with a cosine. Exactly as the deck writes it, batch 100 and SGD at
           1e-3, the network has hardly begun after 5 epochs:
           make train-deck_d_cifar ARGS="--optimizer sgd --rate 1e-3 --schedule constant
           --warmup 0 --weight-decay 0 --batch-size 100 --preprocess scale"
Time:      4 minutes beside another training, on 2 CPU cores (x86-64, AVX-512).
Data:      CIFAR-10 as tfds prepares it, in DATA_DIR; it is not downloaded.
"""

from __future__ import annotations

import dataclasses
import sys

from experiments.harness.config import Config, Preprocess, Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import models
from jaxcnn.data import DataName
from jaxcnn.layer import Layer


@dataclasses.dataclass(frozen=True)
class DeckDConfig(Config):
    """Deck D's network on CIFAR-10."""

    data: DataName = "cifar10"
    """Data set."""
    preprocess: Preprocess = "standardize"
    """From stored pixels to input; see the other experiments."""


def model(config: DeckDConfig, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """The deck's network, whatever the size of the images."""
    del config, image_shape  # the layers adapt
    return models.deck_d_net(classes)


RECIPE = Recipe(
    epochs=5,
    batch_size=50,
    rate=0.01,
    weight_decay=5e-4,
    shift=0,
    validation=0,
    expected=None,
)

EXPERIMENT = Experiment(
    name="deck_d_cifar",
    config=DeckDConfig,
    title=lambda config: f"deck D's network, seed {config.seed}",
    model=model,
    recipes={"cifar10": dataclasses.replace(RECIPE, expected=0.6939), "": RECIPE},
    first_layer="conv1",
    maps=("act1", "pool1", "act2", "pool2"),
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
