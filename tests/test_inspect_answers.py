"""Looking inside at answers and features: against closed forms and brute force in NumPy."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import inspect, losses, nn
from jaxcnn.errors import ConfigError, ShapeError
from tests import reference
from tests.test_inspect import CLOSE, double, linear, made, softmax

# Adversarial examples.


def two_classes(count=9):
    """A linear network of two classes, and the weights and margins of the true ones."""
    model, params, _, _, kernel = linear((2, 3, 1), classes=2)
    rng = np.random.default_rng(3)
    images = rng.uniform(0.3, 0.7, (count, 2, 3, 1)).astype(np.float32)
    labels = rng.integers(2, size=count).astype(np.int32)
    signs = np.where(labels == 0, 1, -1)[:, None]
    towards = signs * (kernel[:, 0] - kernel[:, 1])  # d margin / d x, [N, D]
    scores = double(images).reshape(count, -1) @ kernel + double(params["fc"]["bias"])
    margins = signs[:, 0] * (scores[:, 0] - scores[:, 1])
    return model, params, images, labels, towards, margins


def test_fast_gradient_sign_lowers_the_margin_by_epsilon_times_the_weights():
    model, params, images, labels, towards, margins = two_classes()
    found = inspect.fast_gradient_sign(
        model, params, {}, images, labels, 0.25, losses.softmax_cross_entropy
    )
    expected = images - 0.25 * np.sign(towards).reshape(images.shape)
    np.testing.assert_allclose(found, expected, **CLOSE)  # nothing leaves [0, 1]
    scores = double(jaxcnn.apply(model, params, {}, found)[0])
    after = np.where(labels == 0, 1, -1) * (scores[:, 0] - scores[:, 1])
    np.testing.assert_allclose(after, margins - 0.25 * np.abs(towards).sum(1), rtol=1e-4)
    clipped = inspect.fast_gradient_sign(
        model, params, {}, images, labels, 0.25, losses.softmax_cross_entropy, low=0.4, high=0.6
    )
    np.testing.assert_allclose(clipped, np.clip(expected, 0.4, 0.6), **CLOSE)


@pytest.mark.parametrize("batch_size", [5, 500])
def test_accuracy_against_epsilon_counts_margins_that_survive(batch_size):
    model, params, images, labels, towards, margins = two_classes()
    assert margins[5] > 0  # which pads the last batch of 5, and must not count twice
    limits = np.sort(margins / np.abs(towards).sum(1))
    epsilons = [0.0, *(limits[limits > 0] + 0.01)]  # each step loses images
    table = inspect.accuracy_against_epsilon(
        model, params, {}, images, labels, epsilons, losses.softmax_cross_entropy,
        low=-9.0, high=9.0, batch_size=batch_size,
    )  # fmt: skip
    expected = [int((limits > epsilon).sum()) for epsilon in epsilons]
    assert [row.correct for row in table] == expected
    assert expected[0] > expected[-1] == 0
    assert [row.epsilon for row in table] == epsilons
    assert table[0].accuracy == expected[0] / 9


def test_errors_of_adversarial_examples():
    model, params, images, labels, _, _ = two_classes()
    loss = losses.softmax_cross_entropy
    with pytest.raises(ConfigError, match=r"epsilon=-0.1 is not allowed: expected 0 or more"):
        inspect.fast_gradient_sign(model, params, {}, images, labels, -0.1, loss)
    with pytest.raises(ConfigError, match=r"low=1.0, high=1.0 is not allowed"):
        inspect.fast_gradient_sign(model, params, {}, images, labels, 0.1, loss, low=1.0)
    with pytest.raises(ShapeError, match="got 9 and 8 examples, expected at least one and as many"):
        inspect.accuracy_against_epsilon(model, params, {}, images, labels[:8], [0.1], loss)
    single, params, _, _, _ = linear((2, 3, 1), classes=1)
    with pytest.raises(ShapeError, match=r"got logits float32\[9, 1\], expected \[N, K\] with K"):
        inspect.accuracy_against_epsilon(
            single, params, {}, images, labels, [0.1], losses.binary_cross_entropy
        )


# Similar images.


@pytest.mark.parametrize("block", [1, 4, 16])
def test_nearest_neighbours_equal_brute_force(rng, block):
    queries, gallery = rng.normal(size=(7, 5)), rng.normal(size=(11, 5))
    gallery[[3, 8]] = queries[2]  # equally near: the lower index first, and distance 0
    gallery[5] = np.nan
    distances = np.sqrt(((queries[:, None] - gallery[None]) ** 2).sum(-1))
    distances[:, 5] = np.inf
    expected = np.argsort(distances, axis=1, kind="stable")
    queries, gallery = jnp.asarray(queries, jnp.float32), jnp.asarray(gallery, jnp.float32)
    index, distance = inspect.nearest_neighbours(queries, gallery, 11, block=block)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, np.take_along_axis(distances, expected, 1), rtol=1e-5)
    assert distance[2, :2].tolist() == [0, 0]


def test_errors_of_nearest_neighbours():
    with pytest.raises(ShapeError, match=r"gallery float32\[4, 3\], expected \[Q, D\] and \[G, D"):
        inspect.nearest_neighbours(jnp.zeros((2, 2)), jnp.zeros((4, 3)), 1)
    with pytest.raises(ShapeError, match=r"k=5, block=16 is not allowed .* k in 1 .. 4"):
        inspect.nearest_neighbours(jnp.zeros((2, 3)), jnp.zeros((4, 3)), 5)


@pytest.mark.parametrize("batch_size", [2, 500])
def test_last_hidden_is_what_the_last_dense_layer_sees(batch_size):
    model = nn.chain(flat=nn.Flatten(), head=nn.chain(a=nn.Dense(4), r=nn.relu), fc=nn.Dense(2))
    params, state, images = made(model, (2, 2, 1))
    first = params["head"]["a"]
    before = double(images).reshape(3, -1) @ double(first["kernel"]) + double(first["bias"])
    run = partial(inspect.last_hidden, model, params, state, images, batch_size=batch_size)
    np.testing.assert_allclose(run(), np.maximum(before, 0), **CLOSE)
    np.testing.assert_allclose(run("head/a"), before, **CLOSE)


def test_errors_of_last_hidden():
    model, params, state, images, _ = linear()
    with pytest.raises(ConfigError, match=r"'conv' is not a layer .* one of flat, fc"):
        inspect.last_hidden(model, params, state, images, "conv")
    with pytest.raises(ShapeError, match="got 0 examples, expected at least one"):
        inspect.last_hidden(model, params, state, images[:0])
    with pytest.raises(ConfigError, match="batch_size=0 is not allowed"):
        inspect.last_hidden(model, params, state, images, batch_size=0)
    with pytest.raises(ConfigError, match=r"holds no `nn.Dense`.*\n.*one of a, b"):
        inspect.last_hidden(nn.chain(a=nn.relu, b=nn.Flatten()), {}, {}, images)


# Translation.


def shifted(x, down, right, fill):
    y = np.full_like(x, fill)
    for i, j in reference.cells(*x.shape[1:3]):
        if 0 <= i - down < x.shape[1] and 0 <= j - right < x.shape[2]:
            y[:, i, j] = x[:, i - down, j - right]
    return y


@pytest.mark.parametrize("batch_size", [2, 500])
def test_translation_response_of_a_linear_network(batch_size):
    model, params, state, images, kernel = linear((4, 5, 1))
    shifts = [(0, 0), (1, -2), (-3, 0), (9, 9)]
    found = inspect.translation_response(
        model, params, state, images, shifts, fill=0.25, batch_size=batch_size
    )
    bias = double(params["fc"]["bias"])
    x = double(images)
    for row, shift in zip(found, shifts, strict=True):
        moved = shifted(x, *shift, 0.25)
        stays = [(a.ravel() @ kernel + bias).argmax() for a in x]
        after = [(a.ravel() @ kernel + bias).argmax() for a in moved]
        assert row.shift == shift
        assert row.unchanged == np.mean(np.equal(stays, after))
        apart = np.sqrt(((moved - x) ** 2).sum() / (x**2).sum())
        np.testing.assert_allclose(row.distance, apart, rtol=1e-4)
        np.testing.assert_allclose(inspect.translate(images, *shift, 0.25), moved, rtol=1e-6)


def test_convolution_follows_a_shift_and_global_pooling_does_not_notice_it():
    model = nn.chain(conv=nn.Conv(2, 1, bias=False), pool=nn.GlobalMaxPool(), fc=nn.Dense(3))
    params, state, _ = made(model, (4, 4, 1))
    images = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1].set(1.0)  # one dot
    run = partial(inspect.translation_response, model, params, state, images, [(2, 1)])
    (pooled,), (maps,) = run(), run(layer="conv")
    assert pooled.distance == 0
    assert pooled.unchanged == maps.unchanged == 1
    np.testing.assert_allclose(maps.distance, np.sqrt(2), rtol=1e-5)  # nothing in common
    (empty,) = inspect.translation_response(model, params, state, 0 * images, [(1, 1)])
    assert np.isnan(empty.distance)


@pytest.mark.parametrize("shift", [1, (1,), (0.5, 1)])
def test_errors_of_translation(shift):
    model, params, state, images, _ = linear()
    with pytest.raises(ConfigError, match=r"shift .* is not allowed: expected two ints, rows down"):
        inspect.translation_response(model, params, state, images, [shift])


# Ranking.


def test_top_k_orders_classes_and_gives_their_probabilities(rng):
    logits = rng.normal(size=(4, 6))
    logits[0] = [0, 200, 1, 0, 500, 300]  # probabilities of exactly 0 are ordered too
    logits[1, [2, 4]] = 9.0  # equal: the lower class first
    classes, chances = inspect.top_k(jnp.asarray(logits, jnp.float32), 4)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(classes, expected)
    of_class = np.take_along_axis(softmax(logits), expected, 1)
    np.testing.assert_allclose(chances, of_class, rtol=1e-5, atol=1e-30)


def test_errors_of_top_k():
    with pytest.raises(ShapeError, match=r"k=4 is not allowed .* use 1 .. 3"):
        inspect.top_k(jnp.zeros((2, 3)), 4)
    with pytest.raises(ShapeError, match=r"got logits float32\[3\], expected floating \[N, K\]"):
        inspect.top_k(jnp.zeros(3), 1)
