"""Writes a checkpoint that later versions must still read: `python -m tests.old_checkpoints.make`.

One folder for each format; only a new format makes a new one, and the old ones stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn import checkpoint, losses, nn, optim, train
from jaxcnn.digest import digest
from jaxcnn.typing import Batch

FOLDER = Path(__file__).parent
MODEL = nn.chain(
    conv=nn.Conv(3, 3), norm=nn.BatchNorm(), act=nn.relu, pool=nn.MaxPool(2),
    flatten=nn.Flatten(), logits=nn.Dense(4),
)  # fmt: skip
OPTIMIZER = optim.optimizer("adam", 0.01, weight_decay=1e-3)
SHAPE = (8, 8, 1)
IMAGES = np.sin(np.arange(6 * 64, dtype=np.float32)).reshape(6, *SHAPE)


def start() -> train.TrainState:
    """The state before the first step: its structure is what a checkpoint is read into."""
    return train.init_train_state(MODEL, OPTIMIZER, jax.random.key(5), SHAPE)


def logits(ts: train.TrainState) -> np.ndarray:
    """What the network answers to `IMAGES`."""
    return np.asarray(jaxcnn.apply(MODEL, ts.params, ts.state, jnp.asarray(IMAGES))[0])


def main() -> None:
    """Trains for ten steps, and writes checkpoint, logits and digest."""
    step = jax.jit(train.make_train_step(MODEL, losses.softmax_cross_entropy, OPTIMIZER))
    ts = start()
    batch = Batch(jnp.asarray(IMAGES), jnp.asarray([0, 1, 2, 3, 0, 1], jnp.int32))
    for _ in range(10):
        ts, _ = step(ts, batch, jax.random.key(0))
    folder = FOLDER / "format-1"
    checkpoint.save(folder, ts, {"step": 10})
    expected = {"logits": logits(ts).tolist(), "digest": digest(ts)}
    (FOLDER / "format-1.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
