"""Mixed precision, and how many steps a call makes."""

from __future__ import annotations

from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data, losses, nn, optim, train
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Context
from jaxcnn.train.pace import Pace, fitting
from jaxcnn.typing import Batch

MODEL = nn.chain(
    conv=nn.Conv(4, 3), norm=nn.BatchNorm(), act=nn.relu, pool=nn.MaxPool(2),
    flatten=nn.Flatten(), drop=nn.Dropout(0.2), fc=nn.Dense(3),
)  # fmt: skip


def fit(dataset, **changes):
    settings = {
        "loss": losses.softmax_cross_entropy,
        "optimizer": optim.optimizer("momentum", 0.05),
        "epochs": 2,
        "batch_size": 16,
        "seed": 3,
        "prepare": data.Scale(),
        "log_every": 4,
    }
    return train.fit(MODEL, dataset, **{**settings, **changes})


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_results_do_not_depend_on_the_steps_of_a_call(small, steps):
    by_time = fit(small.train)
    asked = fit(small.train, steps_per_call=steps)
    chex.assert_trees_all_equal(asked.train_state, by_time.train_state)
    for one, other in zip(asked.history, by_time.history, strict=True):
        assert one["loss"] == other["loss"]
        assert one["step"] == other["step"]


def test_a_stop_between_calls_is_seen_after_each(small):
    asked = []
    result = fit(small.train, steps_per_call=2, should_stop=lambda: asked.append(1) or True)
    assert (int(result.train_state.step), len(asked)) == (2, 1)


def test_pace_never_passes_what_is_left(monkeypatch):
    pace = Pace(8)
    assert (pace.steps(100), pace.steps(5)) == (8, 5)
    chosen = Pace(None)
    assert chosen.steps(100) == 1  # until two calls were timed
    clock = iter([0.0, 6.0, 6.01])  # the first call is not counted, the second takes 10 ms
    monkeypatch.setattr("jaxcnn.train.pace.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    for _ in range(2):
        with chosen.watch() as awaited:
            awaited.append(jnp.zeros(()))
    assert (chosen.steps(7), chosen.steps(1000)) == (7, 100)  # a second, or as many as are left
    assert [chosen.long(steps) for steps in (7, 19, 21)] == [False, False, True]


def test_a_call_is_a_second_or_a_few_long_steps():
    assert [fitting(s) for s in (0.01, 0.26, 0.9, 1.1, 2.1, 60.0)] == [100, 4, 4, 3, 1, 1]
    assert fitting(0.0) > 1_000_000


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_bad_steps_per_call(steps):
    with pytest.raises(ConfigError, match=r"steps_per_call=.* is not allowed: expected a positive"):
        Pace(steps)


class TestPrecision:
    def step(self, precision):
        optimizer = optim.optimizer("momentum", 0.05)
        step = train.make_train_step(
            MODEL, losses.softmax_cross_entropy, optimizer, precision=precision
        )
        key = jax.random.key(0)
        ts = train.init_train_state(MODEL, optimizer, key, (12, 12, 1), precision=precision)
        images = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 12, 12, 1)), jnp.float32)
        return ts, jax.jit(step)(ts, Batch(images, jnp.arange(8, dtype=jnp.int32) % 3), key)

    def test_mixed_keeps_everything_that_adds_up_in_float32(self):
        before, (after, counts) = self.step(train.MIXED)
        assert {leaf.dtype for leaf in jax.tree.leaves((after.params, after.state))} == {
            jnp.dtype(jnp.float32)
        }
        assert counts["loss_sum"].dtype == jnp.float32
        chex.assert_trees_all_equal_shapes_and_dtypes(before, after)

    def test_mixed_computes_in_bfloat16(self):
        seen = {}

        def look(path, layer, x, y):
            del layer
            seen[path] = x.dtype
            return y

        ts, _ = self.step(train.MIXED)
        images = train.MIXED.preparing(train.precision.as_stored)(jnp.ones((2, 12, 12, 1)))
        logits, _ = MODEL.apply(ts.params, ts.state, images, Context(tap=look))
        assert set(seen.values()) == {jnp.dtype(jnp.bfloat16)}
        assert train.MIXED.finish(logits).dtype == jnp.float32

    def test_mixed_is_near_float32(self):
        _, (exact, _) = self.step(train.FLOAT32)
        _, (mixed, _) = self.step(train.MIXED)
        chex.assert_trees_all_close(exact.params, mixed.params, atol=5e-3)
        assert not np.array_equal(exact.params["fc"]["kernel"], mixed.params["fc"]["kernel"])

    def test_parameters_may_be_kept_in_bfloat16(self):
        _, (after, _) = self.step(train.Precision(param="bfloat16", compute="bfloat16"))
        assert {leaf.dtype for leaf in jax.tree.leaves(after.params)} == {jnp.dtype(jnp.bfloat16)}

    def test_a_fit_in_mixed_precision_learns(self, small):
        result = fit(small.train, precision=train.MIXED, epochs=6, evaluate_on={"test": small.test})
        assert result.history[-1]["accuracy"] > 0.9

    def test_unknown_dtypes(self):
        with pytest.raises(ConfigError, match="compute='half' is not allowed: use one of float32"):
            train.Precision(compute="half")
