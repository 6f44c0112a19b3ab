"""A training stopped after any of its steps and gone on with: the same bits as in one go."""

from __future__ import annotations

import jax
import numpy as np

from jaxcnn import checkpoint, data, losses, nn, optim, train
from tests.chaos.draws import FULL
from tests.conftest import blobs

TRAIN, HELD_OUT = blobs(75, seed=1), blobs(30, seed=2)
EPOCHS, BATCH = 3, 10
STEPS = EPOCHS * -(-len(TRAIN) // BATCH)
MODEL = nn.chain(
    conv=nn.Conv(4, 3),
    norm=nn.BatchNorm(),
    act=nn.relu,
    flatten=nn.Flatten(),
    drop=nn.Dropout(0.5),
    logits=nn.Dense(3),
)


def fit(start=None, stop_after=None):
    """Trains; with `stop_after`, until so many steps were made in this call."""
    calls = 0

    def should_stop():
        nonlocal calls
        calls += 1
        return calls == stop_after

    policy = train.ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.2)
    return train.fit(
        MODEL,
        TRAIN,
        loss=losses.softmax_cross_entropy,
        optimizer=optim.optimizer("adam", 0.01, weight_decay=1e-3, clip_norm=1.0),
        epochs=EPOCHS,
        batch_size=BATCH,
        seed=5,
        prepare=data.Scale(),
        augment=data.Shift(1),
        evaluate_on={"validation": HELD_OUT},
        eval_batch_size=30,
        policies={"plateau": train.Monitored(policy)},
        accumulate=2,
        log_every=3,
        steps_per_call=1,
        start=start,
        should_stop=should_stop,
    )


def bits(progress):
    """Every array's bytes, and what the policies know."""
    leaves = jax.tree.leaves((progress.train_state, progress.kept))
    return [np.asarray(leaf).tobytes() for leaf in leaves], progress.policies


def examples(history):
    """Sums of what the log counts: the same where no example was left out or seen twice."""
    trained = [line for line in history if line["kind"] == "train"]
    loss = sum(line["loss"] * line["count"] for line in trained)
    return sum(line["count"] for line in trained), loss


def test_resume_from_every_step(tmp_path):
    whole = fit()
    assert int(whole.train_state.step) == STEPS
    assert whole.progress.policies["plateau"]["factor"] < 1, "the policy has nothing to do"
    steps = range(1, STEPS) if FULL else range(4, STEPS, 5)
    for step in steps:
        part = fit(stop_after=step)
        assert (int(part.train_state.step), part.finished) == (step, False)
        path = tmp_path / str(step)
        tree = {"train_state": part.progress.train_state, "kept": part.progress.kept}
        checkpoint.save(path, tree, {"policies": part.progress.policies})
        like = jax.eval_shape(lambda tree=tree: tree)
        tree = checkpoint.restore(path, like)
        policies = checkpoint.read_manifest(path)["about"]["policies"]
        rest = fit(train.Progress(tree["train_state"], policies, tree["kept"]))
        assert bits(rest.progress) == bits(whole.progress), f"resumed at step {step}"
        count, loss = examples(part.history + rest.history)
        assert count == EPOCHS * len(TRAIN)
        np.testing.assert_allclose(loss, examples(whole.history)[1], rtol=1e-5)
        evaluated = [line for line in part.history + rest.history if line["kind"] != "train"]
        assert evaluated == [line for line in whole.history if line["kind"] != "train"]
    print(f"{len(steps)}/{len(steps)} resumed from a step of {STEPS}: the same bits")
