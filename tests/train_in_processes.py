"""One of several processes that train the same network, by each way; run by a test.

python -m tests.train_in_processes OUT WAY... : process 0 writes OUT/WAY.npz and OUT/WAY.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np

from jaxcnn import data, losses, nn, optim, train
from jaxcnn.data import Dataset
from jaxcnn.parallel import from_main, init_distributed, is_main, unreplicate

MODEL = nn.chain(
    conv=nn.Conv(4, 3), norm=nn.BatchNorm(), act=nn.relu, pool=nn.MaxPool(2),
    drop=nn.SpatialDropout(0.2), flatten=nn.Flatten(), drop2=nn.Dropout(0.3), fc=nn.Dense(3),
)  # fmt: skip


def examples(count: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count).astype(np.int32)
    images = rng.integers(60, size=(count, 12, 12, 1)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 3 * label : 3 * label + 4, 3 * label : 3 * label + 4] += 150
    return Dataset("squares", images, labels, ("a", "b", "c"), "made by the tests")


def settings(test: Dataset) -> dict:
    """Of `train.fit`, for 150 examples: the last batch of an epoch has 6."""
    return {
        "loss": losses.softmax_cross_entropy,
        "optimizer": optim.optimizer("sgd", 0.05),
        "epochs": 2,
        "batch_size": 16,
        "seed": 3,
        "prepare": data.Scale(),
        "augment": data.Shift(1),
        "log_every": 4,
        "evaluate_on": {"test": test},
        "eval_batch_size": 12,
    }


def fit(parallel: str, **changes) -> train.Fit:
    given = {**settings(examples(45, 2)), "parallel": parallel, **changes}
    return train.fit(MODEL, examples(150, 1), **given)


def named(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def check_sending() -> None:
    """Process 0's arrays reach all bit for bit: scalars, negative zero, NaN, bfloat16."""
    mine = {
        "scalar": np.int32(7),
        "odd": np.array([[-0.0, np.nan, 1e-45]], np.float32),
        "half": np.arange(3).astype(jax.numpy.bfloat16),
    }
    got = from_main(mine if is_main() else jax.tree.map(np.zeros_like, mine))
    for name, array in mine.items():
        assert got[name].shape == array.shape, name
        assert got[name].tobytes() == array.tobytes(), name


def main() -> None:
    out, ways = Path(sys.argv[1]), sys.argv[2:]
    init_distributed(timeout=60, heartbeat=60)
    check_sending()
    for way in ways:
        result = fit(way)
        for leaf in jax.tree.leaves(result.train_state):
            assert leaf.is_fully_replicated
            first, *others = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            for other in others:
                np.testing.assert_array_equal(first, other)
        host = named(unreplicate(result.train_state))
        history = [
            {k: v for k, v in line.items() if "per_second" not in k} for line in result.history
        ]
        name = out / f"{way}-{jax.process_index()}"
        np.savez(name.with_suffix(".npz"), **host)
        name.with_suffix(".json").write_text(json.dumps(history))
    if is_main():
        print(f"{len(ways)} ways on {jax.device_count()} devices")


if __name__ == "__main__":
    main()
