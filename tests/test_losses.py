"""Losses against NumPy and SciPy in float64, and against the figures of the decks."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import losses, metrics, nn, optim
from jaxcnn.train.state import init_train_state
from jaxcnn.train.step import make_train_step
from jaxcnn.typing import Batch

N, K = 6, 4


def log_softmax(x):
    return x - special.logsumexp(x, axis=1, keepdims=True)


def cross_entropy(x, c, smoothing=0.0):
    t = (1 - smoothing) * np.eye(x.shape[1])[c] + smoothing / x.shape[1]
    return -(t * log_softmax(x)).sum(axis=1)


def max_margin(x, c, m=1.0):
    found = []
    for row, label in zip(x, c, strict=True):
        rivals = [row[k] + m - row[label] for k in range(len(row)) if k != label]
        found.append(max(0.0, *rivals))
    return np.array(found)


def check_all(seed, scale):
    """Every loss against its formula, in float64, on random scores of the given scale."""
    rng = np.random.default_rng(seed)
    x, c = scale * rng.normal(size=(N, K)), rng.integers(K, size=N)
    t = rng.dirichlet(np.ones(K), size=N)
    t[0] = np.eye(K)[1]
    z, y, sign = x[:, 0], rng.uniform(size=N), rng.choice([-1, 1], size=N)
    cases = {
        "cross-entropy": (losses.softmax_cross_entropy, x, c, cross_entropy(x, c)),
        "one-hot": (losses.softmax_cross_entropy, x, np.eye(K)[c], cross_entropy(x, c)),
        "probabilities": (losses.softmax_cross_entropy, x, t, -(t * log_softmax(x)).sum(1)),
        "smoothed": (
            lambda a, b: losses.softmax_cross_entropy(a, b, label_smoothing=0.1),
            x,
            c,
            cross_entropy(x, c, 0.1),
        ),
        "divergence": (
            losses.kl_divergence,
            x,
            t,
            (special.xlogy(t, t) - t * log_softmax(x)).sum(1),
        ),
        "max-margin": (losses.max_margin, x, c, max_margin(x, c)),
        "max-margin 2": (
            lambda a, b: losses.max_margin(a, b, margin=2.0),
            x,
            c,
            max_margin(x, c, 2.0),
        ),
        "binary": (
            losses.binary_cross_entropy,
            z,
            y,
            -y * special.log_expit(z) - (1 - y) * special.log_expit(-z),
        ),
        "logistic": (losses.logistic, z, sign, np.logaddexp(0, -sign * z)),
        "hinge": (losses.hinge, z, sign, np.maximum(0, 1 - sign * z)),
        "hinge 0.3": (
            lambda a, b: losses.hinge(a, b, margin=0.3),
            z,
            sign,
            np.maximum(0, 0.3 - sign * z),
        ),
        "square": (losses.square, x, t, ((x - t) ** 2).sum(1) / 2),
    }
    with jax.enable_x64(True):
        for name, (loss, outputs, labels, wanted) in cases.items():
            got = loss(jnp.asarray(outputs), jnp.asarray(labels))
            assert got.shape == (N,)
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11 * scale, err_msg=name)


draws = {"seed": st.integers(0, 2**31), "scale": st.sampled_from([0.1, 1.0, 30.0, 1000.0])}


@settings(max_examples=6, deadline=None)
@given(**draws)
def test_losses_equal_their_formulas(seed, scale):
    check_all(seed, scale)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(**draws)
def test_losses_equal_their_formulas_on_many_draws(seed, scale):
    check_all(seed, scale)


def test_deck_c_cross_entropy_figures_with_logarithm_to_base_2():
    p = jnp.asarray([[0.66, 0.24, 0.10], [0.10, 0.66, 0.24]])  # the dog is first in both
    dog = jnp.asarray([[1.0, 0.0, 0.0]] * 2)
    loss = losses.softmax_cross_entropy(jnp.log(p), dog) / math.log(2)
    assert [round(float(v), 2) for v in loss] == [0.60, 3.32]


def test_the_least_loss_is_0_and_there_is_no_largest():
    """Deck C asks for both."""
    sure = jnp.asarray([[1e4, 0.0]])
    assert losses.softmax_cross_entropy(sure, jnp.asarray([0]))[0] == 0
    assert losses.softmax_cross_entropy(sure, jnp.asarray([1]))[0] == 1e4


# Deck E, "Loss bricks": propagation, and back-propagation without its factor dE/dy.
# `c` counts from 0 here. Square's transpose is a matter of layout.


def brick_log_softmax(x, c):
    e = np.exp(x)
    return np.log(e.sum()) - x[c], e / e.sum() - np.eye(len(x))[c]


def brick_max_margin(x, c, m=1.0):
    best = max((k for k in range(len(x)) if k != c), key=lambda k: x[k])
    y = max(0.0, x[best] + m - x[c])
    return y, (np.eye(len(x))[best] - np.eye(len(x))[c]) * (y > 0)


BRICKS = {
    "Square": (losses.square, lambda x, d: ((x - d) ** 2 / 2, x - d), "number"),
    "Log": (
        losses.logistic,
        lambda x, c: (np.log(1 + np.exp(-c * x)), -c / (1 + np.exp(c * x))),
        "sign",
    ),
    "Hinge": (
        losses.hinge,
        lambda x, c: (np.maximum(0, 1 - c * x), -c * np.where(c * x < 1, 1.0, 0.0)),
        "sign",
    ),
    "LogSoftMax": (losses.softmax_cross_entropy, brick_log_softmax, "class"),
    "MaxMargin": (losses.max_margin, brick_max_margin, "class"),
}


@pytest.mark.parametrize("name", BRICKS)
def test_deck_e_bricks_of_losses(name, rng):
    loss, brick, kind = BRICKS[name]
    n = 30
    x = 2 * rng.normal(size=(n, K) if kind == "class" else n)
    if kind == "sign":
        x[:2] = 1.0, -1.0  # c x = m: the hinge's corner
    labels = {
        "class": rng.integers(K, size=n),
        "sign": np.where(np.arange(n) % 2 == 0, 1, -1),
        "number": rng.normal(size=n),
    }[kind]
    upstream = rng.normal(size=n)  # dE/dy
    rows = [brick(a, b) for a, b in zip(x, labels, strict=True)]
    forward, backward = (np.array(part) for part in zip(*rows, strict=True))
    with jax.enable_x64(True):
        y, pull = jax.vjp(lambda v: loss(v, jnp.asarray(labels)), jnp.asarray(x))
        np.testing.assert_allclose(y, forward, rtol=1e-12, atol=1e-14)
        wanted = upstream.reshape(-1, *(1,) * (x.ndim - 1)) * backward
        np.testing.assert_allclose(pull(jnp.asarray(upstream))[0], wanted, rtol=1e-12, atol=1e-14)


def test_deck_e_linear_brick(rng):
    """`y = W x`, with `dE/dx = dE/dy W` and `dE/dW = x dE/dy`, transposed to our layout."""
    x, w, upstream = rng.normal(size=(1, 3)), rng.normal(size=(5, 3)), rng.normal(size=(1, 5))
    with jax.enable_x64(True):
        y, pull = jax.vjp(F.dense, jnp.asarray(x), jnp.asarray(w.T))
        np.testing.assert_allclose(y[0], w @ x[0], rtol=1e-13)
        of_x, of_kernel = pull(jnp.asarray(upstream))
    np.testing.assert_allclose(of_x, upstream @ w, rtol=1e-13)
    np.testing.assert_allclose(of_kernel, np.outer(x[0], upstream[0]), rtol=1e-13)


def test_of_equal_rivals_only_the_first_gets_the_gradient_of_max_margin():
    gradient = jax.grad(lambda x: losses.max_margin(x, jnp.asarray([0])).sum())(jnp.zeros((1, 3)))
    np.testing.assert_array_equal(gradient, [[-1, 1, 0]])


def test_binary_cross_entropy_and_logistic_are_one_loss_in_two_codings(rng):
    z, c = jnp.asarray(rng.normal(size=N), jnp.float32), jnp.asarray([1, -1, 1, 1, -1, -1])
    np.testing.assert_allclose(
        losses.logistic(z, c), losses.binary_cross_entropy(z, (c + 1) // 2), rtol=1e-6
    )
    pull = jax.grad(lambda v: losses.binary_cross_entropy(v, (c + 1) // 2).sum())
    np.testing.assert_allclose(pull(z), jax.nn.sigmoid(z) - (c + 1) / 2, rtol=1e-5)


def test_the_divergence_is_cross_entropy_less_entropy_with_the_same_gradient(rng):
    x, t = (jnp.asarray(v, jnp.float32) for v in (rng.normal(size=(N, K)), np.eye(K)[[0] * N]))
    t = 0.7 * t + 0.3 / K
    entropy = -jnp.sum(t * jnp.log(t), axis=1)
    np.testing.assert_allclose(
        losses.kl_divergence(x, t), losses.softmax_cross_entropy(x, t) - entropy, rtol=1e-4
    )
    a, b = (
        jax.grad(lambda v, f=f: f(v, t).sum())(x)
        for f in (losses.kl_divergence, losses.softmax_cross_entropy)
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)
    np.testing.assert_allclose(losses.kl_divergence(jnp.log(t), t), np.zeros(N), atol=1e-6)


CLASSES = jnp.asarray([0, 1])
SIGNS = jnp.asarray([1, -1])
ALL = {
    "softmax_cross_entropy": (losses.softmax_cross_entropy, (2, 2), CLASSES),
    "kl_divergence": (losses.kl_divergence, (2, 2), jnp.eye(2)),
    "max_margin": (losses.max_margin, (2, 2), CLASSES),
    "binary_cross_entropy": (losses.binary_cross_entropy, (2, 1), CLASSES),
    "logistic": (losses.logistic, (2, 1), SIGNS),
    "hinge": (losses.hinge, (2, 1), SIGNS),
    "square": (losses.square, (2, 1), CLASSES),
}
every_loss = pytest.mark.parametrize(("loss", "shape", "labels"), ALL.values(), ids=ALL)


@every_loss
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_inputs_are_computed_in_float32(loss, shape, labels, dtype):
    x = jnp.linspace(-3, 3, math.prod(shape)).reshape(shape)
    got = loss(x.astype(dtype), labels)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, loss(x.astype(dtype).astype(jnp.float32), labels))
    gradient = jax.grad(lambda v: loss(v, labels).sum())(x.astype(dtype))
    assert gradient.dtype == dtype


@every_loss
def test_jit_equals_eager(loss, shape, labels):
    x = jnp.linspace(-2, 2, math.prod(shape)).reshape(shape)
    np.testing.assert_allclose(jax.jit(loss)(x, labels), loss(x, labels), rtol=1e-6)


@every_loss
@pytest.mark.parametrize("size", [1e2, 1e4, 1e37])
def test_huge_logits_give_finite_losses_and_gradients(loss, shape, labels, size):
    if loss is losses.square and size > 1e18:
        pytest.skip("the square of it is beyond float32")
    for sign in (-1, 1):
        x = (sign * size * jnp.asarray([1.0, -1.0, -1.0, 1.0])[: math.prod(shape)]).reshape(shape)
        value, gradient = jax.value_and_grad(lambda v: loss(v, labels).sum())(x)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@every_loss
def test_one_score_may_be_a_column_and_labels_too(loss, shape, labels):
    if shape[1] != 1:
        pytest.skip("takes K scores")
    x = jnp.asarray([[0.3], [0.4]])
    flat = loss(x[:, 0], labels)
    np.testing.assert_array_equal(loss(x, labels), flat)
    np.testing.assert_array_equal(loss(x, labels[:, None]), flat)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_outside_the_classes_give_nan_and_leave_the_others_alone(label):
    labels = jnp.asarray([0, label])
    for loss in (losses.softmax_cross_entropy, losses.max_margin):
        got = loss(jnp.zeros((2, 2)), labels)
        assert jnp.isfinite(got[0])
        assert jnp.isnan(got[1])


@pytest.mark.parametrize(
    ("loss", "bad"),
    [
        (losses.binary_cross_entropy, -1),
        (losses.binary_cross_entropy, 2),
        (losses.logistic, 0),
        (losses.logistic, 2),
        (losses.hinge, 0),
    ],
)
def test_labels_of_another_coding_give_nan(loss, bad):
    got = loss(jnp.zeros(2), jnp.asarray([1, bad]))
    assert jnp.isfinite(got[0])
    assert jnp.isnan(got[1])


def test_a_class_ruled_out_by_minus_infinity_does_no_harm():
    logits = jnp.asarray([[0.0, 1.0, -jnp.inf]])
    for loss in (losses.softmax_cross_entropy, losses.kl_divergence):
        value, gradient = jax.value_and_grad(
            lambda v, loss=loss: loss(v, jnp.asarray([[1.0, 0.0, 0.0]])).sum()
        )(logits)
        assert value == pytest.approx(1.313262, abs=1e-5)
        assert jnp.isfinite(gradient).all()


def test_booleans_are_binary_labels():
    np.testing.assert_allclose(
        losses.binary_cross_entropy(jnp.zeros(2), jnp.asarray([True, False])), [math.log(2)] * 2
    )


def test_the_penalty_counts_kernels_only_and_its_gradient_is_the_kernel():
    model = nn.chain(conv=nn.Conv(2, 3), norm=nn.BatchNorm(), act=nn.ParametricRelu())
    params, _ = jaxcnn.init(model, jax.random.key(0), (5, 5, 1))
    params = jax.tree.map(lambda leaf: leaf + 1, params)
    kernel = np.asarray(params["conv"]["kernel"], np.float64)
    np.testing.assert_allclose(losses.l2_penalty(params), (kernel**2).sum() / 2, rtol=1e-6)
    gradient = jax.grad(losses.l2_penalty)(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        wanted = params["conv"]["kernel"] if path[-1].key == "kernel" else jnp.zeros_like(leaf)
        np.testing.assert_allclose(leaf, wanted, rtol=1e-6)


def test_the_penalty_equals_the_optimizers_weight_decay():
    params = {"fc": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.ones(3)}}
    zero = jax.tree.map(jnp.zeros_like, params)
    by_loss = jax.grad(lambda p: 0.1 * losses.l2_penalty(p))(params)
    updates = []
    for decay, grads in ((0.0, by_loss), (0.1, zero)):
        optimizer = optim.optimizer("sgd", 0.3, weight_decay=decay)
        updates.append(optimizer.update(grads, optimizer.init(params), params)[0])
    for a, b in zip(*map(jax.tree.leaves, updates), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_penalty_of_no_kernels_is_0_and_of_narrow_ones_is_float32():
    assert losses.l2_penalty({"norm": {"scale": jnp.ones(3)}}) == 0
    penalty = losses.l2_penalty({"a": {"kernel": jnp.full((300, 2), 1.0, jnp.bfloat16)}})
    assert penalty.dtype == jnp.float32
    assert penalty == 300


def test_the_rule_for_kernels_is_the_optimizers():
    assert losses.is_kernel is optim.is_kernel


def test_a_binary_classifier_trains_and_its_accuracy_is_counted(rng):
    x = rng.normal(size=(64, 2)).astype(np.float32)
    model, optimizer = nn.Dense(1), optim.optimizer("sgd", 1.0)
    for loss, labels in (
        (losses.binary_cross_entropy, (x.sum(1) > 0).astype(np.int32)),
        (losses.logistic, np.where(x.sum(1) > 0, 1, -1).astype(np.int32)),
        (losses.hinge, np.where(x.sum(1) > 0, 1, -1).astype(np.int32)),
    ):
        ts = init_train_state(model, optimizer, jax.random.key(0), (2,))
        step = jax.jit(make_train_step(model, loss, optimizer))
        batch = Batch(jnp.asarray(x), jnp.asarray(labels), jnp.ones(64, bool))
        for _ in range(30):
            ts, counts = step(ts, batch, jax.random.key(0))
        assert metrics.summarize(counts)["accuracy"] > 0.95


# What is refused.
