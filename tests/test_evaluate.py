"""Evaluation, and the recalibration of running statistics."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import data, metrics, nn, train
from tests.test_train import LOSS, NET, fit


class TestEvaluation:
    @pytest.mark.parametrize("batch_size", [1, 7, 45, 64])
    def test_every_example_counts_once_whatever_the_batch_size(self, small, batch_size):
        ts = fit(small).train_state
        step = train.make_eval_step(NET, LOSS, prepare=data.Scale(), top_k=(1, 2))
        evaluate = train.make_evaluator(step, small.test, batch_size)
        result = metrics.summarize(evaluate(ts.params, ts.state))
        logits = train.predict(
            NET, ts.params, ts.state, small.test, prepare=data.Scale(), batch_size=batch_size
        )
        assert logits.shape == (45, 3)
        right = (logits.argmax(1) == small.test.labels).mean()
        order = np.argsort(-logits, axis=1)[:, :2]
        assert result["count"] == 45
        assert result["accuracy"] == pytest.approx(right)
        assert result["top2_accuracy"] == pytest.approx(
            (order == small.test.labels[:, None]).any(1).mean()
        )
        direct = jaxcnn.apply(NET, ts.params, ts.state, small.test.images / np.float32(255))[0]
        np.testing.assert_allclose(logits, direct, rtol=1e-4, atol=1e-5)

    def test_nothing_counted_is_nan_not_an_error(self):
        empty = {"loss_sum": jnp.float32(0), "count": jnp.int32(0), "correct": jnp.int32(0)}
        assert np.isnan(metrics.summarize(empty)["accuracy"])


class TestRecalibration:
    @pytest.mark.parametrize("batch_size", [150, 64])
    def test_statistics_are_those_of_the_data(self, small, batch_size):
        """One norm at the input, whose statistics NumPy can say, and one behind dropout."""
        model = nn.chain(
            norm=nn.BatchNorm(),
            drop=nn.Dropout(0.5),
            deep=nn.chain(conv=nn.Conv(2, 3), norm=nn.BatchNorm()),
        )
        params, state = jaxcnn.init(model, jax.random.key(0), (12, 12, 1))
        new = train.recalibrate(
            model, params, state, small.train, prepare=data.Scale(), batch_size=batch_size
        )
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
        pixels = small.train.images.astype(np.float64) / 255
        np.testing.assert_allclose(new["norm"]["mean"], pixels.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(new["norm"]["var"], pixels.var((0, 1, 2)), rtol=1e-5)
        assert float(new["deep"]["norm"]["var"].min()) > 0
        if batch_size == 150:  # then the deep norm sees what evaluation with `new` gives it
            maps = jaxcnn.features(model, params, new, data.Scale()(small.train.images))
            deep = np.asarray(maps["deep/conv"], np.float64)
            np.testing.assert_allclose(new["deep"]["norm"]["mean"], deep.mean((0, 1, 2)), rtol=1e-3)

    def test_other_state_is_kept(self, small):
        model = nn.chain(flat=nn.Flatten(), fc=nn.Dense(2))
        params, state = jaxcnn.init(model, jax.random.key(0), (12, 12, 1))
        assert train.recalibrate(model, params, state, small.train, prepare=data.Scale()) == {}
