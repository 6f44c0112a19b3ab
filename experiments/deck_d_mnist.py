"""Deck D's network on MNIST: two 5x5 convolutions, 5 epochs.

Command:   make train-deck_d_mnist     (settings: python -m experiments.deck_d_mnist --help)
Expected:  99.12 % of the 10,000 test images, mean of 3 seeds, as the deck prints. Exactly as the
           deck writes it, which is a rate that moves too little in 5 epochs:
           make train-deck_d_mnist ARGS="--optimizer sgd --rate 1e-3 --schedule constant
           --warmup 0 --weight-decay 0"
Time:      2 to 4 minutes beside another training, on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys

from experiments import deck_d_cifar
from experiments.harness.config import Preprocess, Recipe
from experiments.harness.runner import main
from jaxcnn.data import DataName


@dataclasses.dataclass(frozen=True)
class DeckDMNISTConfig(deck_d_cifar.DeckDConfig):
    """Deck D's network on handwritten digits."""

    data: DataName = "auto"
    """Data set. "auto" is MNIST, or the embedded digits where MNIST cannot be had."""
    preprocess: Preprocess = "scale"
    """From stored pixels to input; see the other experiments."""


RECIPE = Recipe(
    epochs=5,
    batch_size=100,
    rate=0.05,
    weight_decay=5e-4,
    shift=0,
    validation=0,
    expected=None,
)

EXPERIMENT = dataclasses.replace(
    deck_d_cifar.EXPERIMENT,
    name="deck_d_mnist",
    config=DeckDMNISTConfig,
    recipes={"mnist": dataclasses.replace(RECIPE, expected=0.9912), "": RECIPE},
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
