"""Counts: against NumPy, under a mask, and adding up over batches to the whole."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import losses, metrics
from jaxcnn.errors import ConfigError, ShapeError

N, K = 24, 5


def example(seed, *, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(N, K))).astype(np.float32)
    return logits, rng.integers(K, size=N).astype(np.int32), rng.random(N) < 0.8


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def calibration_error(logits, labels, mask, bins):
    """Guo et al. 2017, equation 3, bin by bin."""
    p = softmax(logits.astype(np.float64))[mask]
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels[mask]
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.sum() / len(p) * gap
    return total


@jax.jit
def all_counts(logits, labels, mask):
    of_each = losses.softmax_cross_entropy(logits, labels)
    return {
        **metrics.classification(of_each, logits, labels, mask, top_k=(1, 3)),
        **metrics.calibration(logits, labels, mask, bins=10),
        "confusion": metrics.confusion_matrix(jnp.argmax(logits, -1), labels, K, mask),
    }


def check_against_numpy_and_batches(seed):
    logits, labels, mask = example(seed)
    whole = all_counts(logits, labels, mask)
    right = logits.argmax(1) == labels
    order = np.argsort(-logits, axis=1)
    assert whole["count"] == mask.sum()
    assert whole["correct"] == (right & mask).sum()
    assert whole["correct_top3"] == ((order[:, :3] == labels[:, None]).any(1) & mask).sum()
    confusion = np.zeros((K, K), int)
    for row, label, counted in zip(logits, labels, mask, strict=True):
        confusion[label, row.argmax()] += counted
    np.testing.assert_array_equal(whole["confusion"], confusion)
    assert metrics.expected_calibration_error(whole) == pytest.approx(
        calibration_error(logits, labels, mask, 10), abs=1e-6
    )
    parts = [
        all_counts(logits[piece], labels[piece], mask[piece])
        for piece in (slice(0, 8), slice(8, 16), slice(16, 24))
    ]
    for name, value in functools.reduce(metrics.add, parts).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-6, err_msg=name)


seeds = st.integers(0, 2**31)


@settings(max_examples=5, deadline=None)
@given(seeds)
def test_counts_equal_numpys_and_add_up(seed):
    check_against_numpy_and_batches(seed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(seeds)
def test_counts_equal_numpys_and_add_up_on_many_draws(seed):
    check_against_numpy_and_batches(seed)


def test_masked_rows_count_nowhere():
    logits, labels, _ = example(0)
    spoilt = np.concatenate([logits, np.full((8, K), np.nan, np.float32)])
    mask = np.arange(N + 8) < N
    with_padding = all_counts(spoilt, np.concatenate([labels, [0] * 8]).astype(np.int32), mask)
    for name, value in all_counts(logits, labels, mask[:N]).items():
        np.testing.assert_allclose(with_padding[name], value, rtol=1e-6, err_msg=name)


def test_counts_are_the_same_compiled():
    logits, labels, mask = example(1)
    with jax.disable_jit():
        eager = all_counts(*map(jnp.asarray, (logits, labels, mask)))
    for name, value in all_counts(logits, labels, mask).items():
        np.testing.assert_allclose(eager[name], value, rtol=1e-6, err_msg=name)


def test_labels_may_be_probabilities():
    logits, labels, mask = example(2)
    rows = jnp.asarray(np.eye(K, dtype=np.float32)[labels])
    a = metrics.calibration(jnp.asarray(logits), rows, jnp.asarray(mask))
    b = metrics.calibration(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask))
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("labels", [[1, 0, 0], [1, -1, -1], [[1], [0], [0]], [0.9, 0.1, 0.2]])
def test_one_logit_is_a_binary_classifiers(labels):
    logits = jnp.asarray([[2.0], [-1.0], [0.5]])
    got = metrics.correct_top_k(logits, jnp.asarray(labels))
    assert got.tolist() == [True, True, False]


def test_of_equal_logits_the_lower_class_is_larger():
    logits = jnp.zeros((2, 3))
    assert metrics.correct_top_k(logits, jnp.asarray([0, 1])).tolist() == [True, False]
    assert metrics.correct_top_k(logits, jnp.asarray([1, 2]), k=2).tolist() == [True, False]


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_be_among_the_classes(k):
    with pytest.raises(ShapeError, match=rf"k={k} is not allowed for logits .* use 1 .. K"):
        metrics.correct_top_k(jnp.zeros((2, 3)), jnp.asarray([0, 1]), k=k)


def test_logits_must_have_two_axes():
    with pytest.raises(ShapeError, match=r"got logits float32\[2\], expected \[N, K\]"):
        metrics.correct_top_k(jnp.zeros(2), jnp.asarray([0, 1]))


def test_labels_outside_the_classes_are_not_taken_for_the_last():
    got = metrics.confusion_matrix(
        jnp.asarray([0, 1, 1]), jnp.asarray([-1, 2, 1]), 2, jnp.ones(3, bool)
    )
    assert got.tolist() == [[0, 0], [0, 1]]


def test_per_class_accuracy():
    confusion = jnp.asarray([[3, 1, 0], [0, 0, 0], [0, 2, 6]])
    got = metrics.per_class_accuracy(confusion)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [0.75, np.nan, 0.75])


def test_per_class_accuracy_averages_to_the_accuracy():
    logits, labels, mask = example(3)
    confusion = np.asarray(all_counts(logits, labels, mask)["confusion"])
    weights = confusion.sum(axis=1) / confusion.sum()
    accuracy = ((logits.argmax(1) == labels) & mask).sum() / mask.sum()
    assert np.nansum(metrics.per_class_accuracy(confusion) * weights) == pytest.approx(accuracy)


def test_the_ends_of_the_bins():
    """A confidence on an edge belongs to the bin below, and 1 to the last."""
    p = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    with np.errstate(divide="ignore"):
        logits = jnp.asarray(np.log(p), jnp.float32)
    counts = metrics.calibration(logits, jnp.asarray([0, 0, 0]), jnp.ones(3, bool), bins=2)
    assert counts["bin_count"].tolist() == [1, 2]
    assert counts["bin_correct"].tolist() == [1, 2]
    np.testing.assert_allclose(counts["bin_confidence"], [0.5, 1.75], rtol=1e-6)


def test_a_perfectly_calibrated_guesser_has_no_error():
    counts = metrics.calibration(jnp.zeros((4, 4)), jnp.arange(4), jnp.ones(4, bool))
    assert metrics.expected_calibration_error(counts) == pytest.approx(0, abs=1e-7)


def test_no_examples_have_no_calibration_error():
    counts = metrics.calibration(jnp.zeros((4, 4)), jnp.arange(4), jnp.zeros(4, bool))
    assert np.isnan(metrics.expected_calibration_error(counts))


@pytest.mark.parametrize("bins", [0, -1])
def test_bins_must_be_positive(bins):
    with pytest.raises(ConfigError, match=f"bins={bins} is not allowed: expected a positive int"):
        metrics.calibration(jnp.zeros((4, 4)), jnp.arange(4), jnp.ones(4, bool), bins=bins)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 2, 2)])
def test_calibration_needs_several_classes(shape):
    with pytest.raises(ShapeError, match=r"got logits .*, expected \[N, K\] with K at least 2"):
        metrics.calibration(jnp.zeros(shape), jnp.arange(4), jnp.ones(4, bool))


def test_summaries():
    counts = {"loss_sum": 6.0, "count": 4, "correct": 3, "correct_top5": 4, "nonfinite": 0}
    assert metrics.summarize({k: jnp.asarray(v) for k, v in counts.items()}) == {
        "count": 4,
        "loss": 1.5,
        "accuracy": 0.75,
        "top5_accuracy": 1.0,
    }
    empty = metrics.summarize({"loss_sum": jnp.asarray(0.0), "count": jnp.asarray(0)})
    assert np.isnan(empty["loss"])
