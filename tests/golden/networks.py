"""The networks whose values are kept: the published ones, made narrow where they are large.

Data, initial values and steps are functions of fixed seeds; the data come from NumPy's generator,
whose stream is the same on every machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import losses, models, nn, optim, train
from jaxcnn.layer import Layer
from jaxcnn.typing import Batch

CLASSES = 10


class Golden(NamedTuple):
    """A network, the shape of its images, and the rate at which it is trained."""

    make: Callable[[], Layer]
    shape: tuple[int, int, int]
    batch: int
    rate: float


def narrow(model: Layer, by: int) -> Layer:
    """The same network with a `by`-th of the channels in every layer but the last."""

    def change(layer: Layer) -> Layer:
        features = getattr(layer, "features", CLASSES)
        if features == CLASSES:
            return layer
        return dataclasses.replace(layer, features=features // by)  # type: ignore[type-var]

    return nn.replace_layers(model, change)


def small_vit(features: int, *, blocks: int) -> Layer:
    """A ViT/16 as in `models.vit`, with fewer channels and blocks: those take long to compile."""
    block = nn.encoder_block(features, heads=3, hidden=4 * features)
    return nn.chain(
        embed=nn.PatchEmbedding(features, 16),
        cls=nn.ClassToken(),
        position=nn.PositionEmbedding(),
        **{f"block{number}": block for number in range(1, blocks + 1)},
        norm=nn.LayerNorm(),
        take=nn.first_token,
        logits=nn.Dense(CLASSES),
    )


GOLDEN = {
    "lenet5": Golden(models.lenet5, (28, 28, 1), 16, 0.02),
    "lenet5_1998": Golden(lambda: models.lenet5(variant="1998"), (28, 28, 1), 16, 0.02),
    "alexnet_32nd": Golden(
        lambda: narrow(models.alexnet(classes=CLASSES), 32), (67, 67, 3), 8, 0.01
    ),
    "resnet20_4th": Golden(lambda: narrow(models.resnet20(CLASSES), 4), (16, 16, 3), 8, 0.01),
    "vit_tiny16_2blocks": Golden(lambda: small_vit(12, blocks=2), (32, 32, 3), 8, 0.01),
}


def values(name: str, steps: Iterable[int]) -> dict[str, Any]:
    """The outputs of the fresh network for two images, and the loss before each of `steps`."""
    golden = GOLDEN[name]
    rng = np.random.default_rng(20260101)
    images = rng.normal(size=(golden.batch, *golden.shape)).astype(np.float32)
    labels = rng.integers(CLASSES, size=golden.batch).astype(np.int32)
    batch = Batch(jnp.asarray(images), jnp.asarray(labels))
    model, key = golden.make(), jax.random.key(7)
    optimizer = optim.optimizer("sgd", golden.rate)
    ts = train.init_train_state(model, optimizer, key, golden.shape)
    outputs, _ = jax.jit(jaxcnn.apply, static_argnums=0)(model, ts.params, ts.state, batch.images)
    step = jax.jit(train.make_train_step(model, losses.softmax_cross_entropy, optimizer))
    found = {}
    for number in range(max(steps) + 1):
        ts, counts = step(ts, batch, key)
        if number in steps:
            found[str(number)] = float(counts["loss_sum"]) / golden.batch
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(ts.params)),
        "logits": np.asarray(outputs[:2], np.float64).round(9).tolist(),
        "loss": found,
    }
