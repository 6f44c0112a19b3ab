"""Back-propagation by hand against `jax.grad`, and its cost against the naive way's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import backprop, losses, nn
from jaxcnn import functional as F
from jaxcnn.backprop import LOGISTIC, RELU, SIGMOID, SOFTMAX, SQUARE, TANH, Linear
from jaxcnn.errors import ConfigError, ShapeError

IN_JAX = {"sigmoid": F.sigmoid, "tanh": F.tanh, "relu": F.relu}
LOSS_IN_JAX = {
    "square": losses.square,
    "softmax": losses.softmax_cross_entropy,
    "logistic": lambda z, y: jnp.sum(
        jax.vmap(losses.binary_cross_entropy, in_axes=1, out_axes=1)(z, y), axis=1
    ),
}


def example(sizes, loss, *, n=5, seed=0):
    rng = np.random.default_rng(seed)
    network = [
        Linear(theta, rng.normal(size=b.shape))
        for theta, b in backprop.random_network(sizes, seed=seed)
    ]
    xs, ys = rng.normal(size=(n, sizes[0])), rng.normal(size=(n, sizes[-1]))
    if loss is LOGISTIC:
        ys = rng.uniform(size=ys.shape)
    if loss is SOFTMAX:
        ys = np.eye(sizes[-1])[rng.integers(sizes[-1], size=n)]
    return network, xs, ys


def by_jax(network, xs, ys, activation, loss, l2):
    """The same objective with the library's own layers and losses, through `jax.grad`."""

    def objective(params):
        x = jnp.asarray(xs)
        for index, layer in enumerate(params):
            x = F.dense(x if index == 0 else IN_JAX[activation.name](x), **layer)
        of_example = LOSS_IN_JAX[loss.name](x, jnp.asarray(ys))
        return jnp.mean(of_example) + l2 * losses.l2_penalty(dict(enumerate(params)))

    with jax.enable_x64(True):
        params = [
            {"kernel": jnp.asarray(layer.theta.T), "bias": jnp.asarray(layer.b)}
            for layer in network
        ]
        value, grads = jax.value_and_grad(objective)(params)
    return float(value), [Linear(np.asarray(g["kernel"]).T, np.asarray(g["bias"])) for g in grads]


def check_against_jax(sizes, activation, loss, l2, seed):
    network, xs, ys = example(sizes, loss, seed=seed)
    value, gradient = by_jax(network, xs, ys, activation, loss, l2)
    for way in (backprop.backpropagation, backprop.naive):
        got = way(network, xs, ys, activation=activation, loss=loss, l2=l2)
        np.testing.assert_allclose(got.objective, value, rtol=1e-12, atol=1e-12)
        for ours, theirs in zip(got.gradient, gradient, strict=True):
            np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(ours.b, theirs.b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [SQUARE, LOGISTIC, SOFTMAX], ids=lambda v: v.name)
@pytest.mark.parametrize("activation", [SIGMOID, TANH, RELU], ids=lambda v: v.name)
def test_gradients_equal_those_of_jax(activation, loss):
    check_against_jax([4, 6, 5, 3], activation, loss, l2=0.1, seed=0)


draws = {
    "sizes": st.lists(st.integers(1, 6), min_size=2, max_size=6),
    "activation": st.sampled_from([SIGMOID, TANH, RELU]),
    "loss": st.sampled_from([SQUARE, LOGISTIC, SOFTMAX]),
    "l2": st.sampled_from([0.0, 0.3]),
    "seed": st.integers(0, 2**31),
}


@settings(max_examples=3, deadline=None)
@given(**draws)
def test_gradients_equal_those_of_jax_on_drawn_networks(sizes, activation, loss, l2, seed):
    check_against_jax(sizes, activation, loss, l2, seed)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(**draws)
def test_gradients_equal_those_of_jax_on_many_drawn_networks(sizes, activation, loss, l2, seed):
    check_against_jax(sizes, activation, loss, l2, seed)


def test_the_penalty_moves_weights_and_not_intercepts():
    network, xs, ys = example([3, 4, 2], SQUARE)
    plain = backprop.backpropagation(network, xs, ys, loss=SQUARE)
    penalized = backprop.backpropagation(network, xs, ys, loss=SQUARE, l2=0.5)
    for without, with_l2, layer in zip(plain.gradient, penalized.gradient, network, strict=True):
        np.testing.assert_allclose(with_l2.theta, without.theta + 0.5 * layer.theta)
        np.testing.assert_array_equal(with_l2.b, without.b)


def test_a_batch_is_the_average_of_its_examples():
    network, xs, ys = example([3, 4, 2], SOFTMAX, n=3)
    whole = backprop.backpropagation(network, xs, ys, loss=SOFTMAX)
    single = [
        backprop.backpropagation(network, xs[i : i + 1], ys[i : i + 1], loss=SOFTMAX)
        for i in range(3)
    ]
    np.testing.assert_allclose(whole.objective, np.mean([r.objective for r in single]))
    np.testing.assert_allclose(
        whole.gradient[0].theta, np.mean([r.gradient[0].theta for r in single], axis=0)
    )
    assert whole.multiplications == sum(r.multiplications for r in single)


def multiplications(way, layers, width):
    network = backprop.random_network([width] * (layers + 1), seed=0)
    return way(network, np.ones((1, width)), np.ones((1, width))).multiplications


@pytest.mark.parametrize("layers", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("width", [1, 3, 8])
def test_multiplications_by_formula(layers, width):
    m, depth = width, layers
    # forward, back, and the outer products of the gradients
    assert multiplications(backprop.backpropagation, depth, m) == (
        depth * m**2 + (depth - 1) * (m**2 + m) + depth * m**2
    )
    assert multiplications(backprop.naive, depth, m) == (
        depth * depth * m**2 + depth * (depth - 1) // 2 * (m**2 + m) + depth * m**2
    )


def test_back_propagation_grows_linearly_and_the_naive_way_quadratically():
    depths = range(1, 10)
    fast = [multiplications(backprop.backpropagation, d, 4) for d in depths]
    slow = [multiplications(backprop.naive, d, 4) for d in depths]
    assert set(np.diff(fast, 2)) == {0}
    assert set(np.diff(slow, 2)) == {2 * 16 + 20}
    # Twice as deep: twice the work against four times the work.
    ratio = {
        way: multiplications(way, 64, 4) / multiplications(way, 32, 4)
        for way in (backprop.backpropagation, backprop.naive)
    }
    assert ratio[backprop.backpropagation] == pytest.approx(2, abs=0.03)
    assert ratio[backprop.naive] == pytest.approx(4, abs=0.1)


def test_descent_along_the_gradient_learns_xor():
    network = backprop.random_network([2, 8, 1], seed=0)
    xs, ys = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    for _ in range(500):
        result = backprop.backpropagation(network, xs, ys, activation=TANH, loss=LOGISTIC)
        network = [
            Linear(layer.theta - 1.0 * grad.theta, layer.b - 1.0 * grad.b)
            for layer, grad in zip(network, result.gradient, strict=True)
        ]
    assert result.objective < 0.05


def test_large_pre_activations_stay_finite():
    network = [Linear(np.full((3, 2), 1e3), np.zeros(3)), Linear(np.full((2, 3), 1e3), np.zeros(2))]
    for activation in (SIGMOID, TANH, RELU):
        for loss in (LOGISTIC, SOFTMAX):
            got = backprop.backpropagation(
                network, [[1.0, -5.0]], [[0.0, 1.0]], activation=activation, loss=loss
            )
            assert np.isfinite(got.objective)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got.gradient))


NETWORK = backprop.random_network([3, 4, 2], seed=0)


@pytest.mark.parametrize("way", [backprop.backpropagation, backprop.naive])
@pytest.mark.parametrize(
    ("network", "xs", "ys", "message"),
    [
        ([], np.ones((1, 3)), np.ones((1, 2)), "no layers, expected at least one"),
        (NETWORK, np.ones(3), np.ones((1, 2)), r"examples \[3\].*expected \[n, n_in\]"),
        (NETWORK, np.ones((1, 3)), [1], r"targets \[1\], expected.*one-hot rows"),
        (NETWORK, np.ones((2, 3)), np.ones((1, 2)), r"examples \[2, 3\] and targets \[1, 2\]"),
        (NETWORK, np.ones((0, 3)), np.ones((0, 2)), "n at least 1"),
        (NETWORK, np.ones((1, 5)), np.ones((1, 2)), r"layer 1 has theta \[4, 3\].*\[n_out, 5\]"),
        (NETWORK, np.ones((1, 3)), np.ones((1, 4)), r"targets \[1, 4\], expected \[n, 2\]"),
        (
            [Linear(np.ones((2, 3)), np.ones(3))],
            np.ones((1, 3)),
            np.ones((1, 2)),
            r"b \[3\], expected",
        ),
    ],
)
def test_what_does_not_fit_is_refused(way, network, xs, ys, message):
    with pytest.raises(ShapeError, match=f"(?s){message}"):
        way(network, xs, ys)


@pytest.mark.parametrize("l2", [-0.1, float("nan")])
def test_a_negative_penalty_is_refused(l2):
    with pytest.raises(ConfigError, match=r"l2=.* is not allowed: expected 0 or more"):
        backprop.backpropagation(NETWORK, np.ones((1, 3)), np.ones((1, 2)), l2=l2)


def test_theta_is_the_transpose_of_a_dense_kernel():
    params, _ = nn.Dense(2).init(jax.random.key(0), jax.ShapeDtypeStruct((1, 3), jnp.float32))
    assert params["kernel"].T.shape == NETWORK[0].theta[:2].shape
