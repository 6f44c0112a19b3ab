"""Deck C's example 3: its network on 12,000 training and 2,000 test images of MNIST.

Command:   make train-deck_c           (settings: python -m experiments.deck_c --help)
Expected:  the deck prints no accuracy. It asks for the training curve, the learned 5x5 weights and
           the feature maps, which the report shows. Batch 128 and a rate of 1e-3 are the deck's;
           it says "gradient descent" and leaves the method to a notebook: here it is Adam.
Time:      3 minutes on one CPU core (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

from experiments.harness.config import Config, Recipe
from experiments.harness.job import Experiment, Loaded, load_by_name
from experiments.harness.runner import main
from experiments.harness.screen import Screen
from jaxcnn import models
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer
from jaxcnn.optim import OptimizerName, ScheduleName


@dataclasses.dataclass(frozen=True)
class DeckCConfig(Config):
    """Deck C's network on a part of MNIST."""

    optimizer: OptimizerName = "adam"
    """How gradients become updates."""
    schedule: ScheduleName = "constant"
    """How the learning rate changes."""
    hidden: int = 1024
    """Units of the dense layer."""
    train_images: int = 12_000
    """Training images: the first so many."""
    test_images: int = 2_000
    """Test images: the first so many."""


def model(config: DeckCConfig, image_shape: tuple[int, int, int], classes: int) -> Layer:
    """The deck's network, whatever the size of the images."""
    del image_shape  # the layers adapt
    return models.deck_c_net(hidden=config.hidden, classes=classes)


def load(config: DeckCConfig, recipe: Recipe, screen: Screen) -> Loaded:
    """The first images of both parts."""
    del recipe
    loaded = load_by_name("deck_c", config, screen)
    parts = []
    for asked, part in (
        (config.train_images, loaded.train),
        (config.test_images, loaded.test),
    ):
        if asked < 1:
            raise ConfigError(f"{asked} images: expected 1 or more.")
        few = np.arange(min(asked, len(part)))  # the embedded digits are fewer
        parts.append(part.take(few, f"{part.name}-first-{len(few)}"))
    return Loaded(*parts)


EXPERIMENT = Experiment(
    name="deck_c",
    config=DeckCConfig,
    title=lambda config: f"deck C's example 3 ({config.optimizer}), seed {config.seed}",
    model=model,
    recipes={
        "": Recipe(
            epochs=10,
            batch_size=128,
            rate=1e-3,
            weight_decay=0.0,
            shift=0,
            validation=0,
            expected=None,
        )
    },
    first_layer="conv1",
    maps=("act1", "pool1", "act2", "pool2"),
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
