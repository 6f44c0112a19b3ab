"""Activations against SciPy in float64, and their derivatives against the decks' formulas."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import initializers, nn
from jaxcnn.errors import ConfigError, ShapeError


def step(condition):
    return np.where(condition, 1.0, 0.0)


# name: (function, value and derivative in NumPy as the decks write them)
ACTIVATIONS = {
    "sigmoid": (F.sigmoid, special.expit, lambda x: special.expit(x) * (1 - special.expit(x))),
    "tanh": (F.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (F.relu, lambda x: np.maximum(0, x), lambda x: step(x > 0)),
    "leaky_relu": (
        F.leaky_relu,
        lambda x: np.maximum(0.01 * x, x),
        lambda x: np.where(x > 0, 1.0, 0.01),
    ),
    "leaky_relu_0.1": (
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: np.maximum(0.1 * x, x),
        lambda x: np.where(x > 0, 1.0, 0.1),
    ),
    "elu": (
        F.elu,
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1.0, np.exp(np.minimum(x, 0))),
    ),
    "elu_alpha": (
        lambda x: F.elu(x, 0.3),
        lambda x: np.where(x > 0, x, 0.3 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1.0, 0.3 * np.exp(np.minimum(x, 0))),
    ),
    "gelu": (
        F.gelu,
        lambda x: x * stats.norm.cdf(x),
        lambda x: stats.norm.cdf(x) + x * stats.norm.pdf(x),
    ),
    "ramp": (F.ramp, lambda x: np.clip(x, -1, 1), lambda x: step((x > -1) & (x < 1))),
}


@pytest.fixture(params=ACTIVATIONS.values(), ids=ACTIVATIONS)
def activation(request):
    return request.param


@functools.partial(jax.jit, static_argnums=0)
def value_and_derivative(function, x):
    return function(x), jax.vmap(jax.grad(function))(x)


def derivative(function, x):
    return value_and_derivative(function, jnp.asarray(x))[1]


def check_value_and_derivative(values):
    x = np.asarray(values, np.float64)
    with jax.enable_x64(True):
        for name, (function, value, slope) in ACTIVATIONS.items():
            y, dy = value_and_derivative(function, jnp.asarray(x))
            assert y.dtype == jnp.float64
            np.testing.assert_allclose(y, value(x), rtol=1e-12, atol=1e-14, err_msg=name)
            np.testing.assert_allclose(dy, slope(x), rtol=1e-12, atol=1e-14, err_msg=name)


numbers = st.lists(  # one shape: compiled once
    st.floats(-30, 30, allow_subnormal=False),  # devices may take those for 0
    min_size=8,
    max_size=8,
)


@settings(max_examples=8, deadline=None)
@given(numbers)
def test_values_and_derivatives_equal_the_formulas(values):
    check_value_and_derivative(values)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(numbers)
def test_values_and_derivatives_equal_the_formulas_on_many_draws(values):
    check_value_and_derivative(values)


def test_values_and_derivatives_hold_at_the_corners_too():
    check_value_and_derivative([-1.0, 0.0, 1.0, -0.0, 0.5, -0.5, 2.0, -2.0])


def test_relu_has_subgradient_0_at_0():
    assert jax.grad(F.relu)(0.0) == 0


def test_leaky_relu_has_its_slope_as_subgradient_at_0_and_so_slope_0_is_relu():
    assert jax.grad(F.leaky_relu)(0.0) == pytest.approx(0.01)
    x = jnp.linspace(-2, 2, 9)
    np.testing.assert_array_equal(F.leaky_relu(x, 0.0), F.relu(x))
    np.testing.assert_array_equal(
        derivative(lambda v: F.leaky_relu(v, 0.0), x), derivative(F.relu, x)
    )


def test_the_ramp_is_flat_at_and_beyond_its_corners():
    np.testing.assert_array_equal(
        derivative(F.ramp, [-2.0, -1.0, -0.999, 0.0, 0.999, 1.0, 2.0]), [0, 0, 1, 1, 1, 0, 0]
    )


def test_the_sigmoid_saturates_as_in_the_quiz_of_deck_e():
    slopes = derivative(F.sigmoid, [-10.0, 0.0, 10.0])
    np.testing.assert_allclose(slopes, [4.54e-5, 0.25, 4.54e-5], rtol=1e-3)


# Deck E, "Typical non-linear activations": propagation and back-propagation, as printed but for
# the ramp, printed `min(-1, max(1, x))`, which is -1 everywhere.
BRICKS = {
    "Sigmoid": (
        F.sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x: 1 / ((1 + np.exp(x)) * (1 + np.exp(-x))),
    ),
    "Tanh": (F.tanh, np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "ReLu": (F.relu, lambda x: np.maximum(0, x), lambda x: step(x > 0)),
    "Ramp": (
        F.ramp,
        lambda x: np.maximum(-1, np.minimum(1, x)),
        lambda x: step((x > -1) & (x < 1)),
    ),
}


@pytest.mark.parametrize("name", BRICKS)
def test_deck_e_bricks_of_activations(name, rng):
    function, forward, backward = BRICKS[name]
    x = np.concatenate([rng.normal(scale=3, size=20), [-1.0, 0.0, 1.0]])
    upstream = rng.normal(size=x.shape)  # dE/dy
    with jax.enable_x64(True):
        y, pull = jax.vjp(function, jnp.asarray(x))
        np.testing.assert_allclose(y, forward(x), rtol=1e-14)
        np.testing.assert_allclose(
            pull(jnp.asarray(upstream))[0], upstream * backward(x), rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_dtype_is_kept_and_huge_inputs_give_finite_gradients(activation, dtype):
    function, value, _ = activation
    x = jnp.asarray([-1e4, -3.0, 0.0, 3.0, 1e4], dtype)
    y = function(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(
        y.astype(jnp.float32), value(np.asarray(x, np.float64)), rtol=2e-2, atol=2e-2
    )
    assert jnp.isfinite(derivative(function, x)).all()


def test_nan_stays_nan(activation):
    assert jnp.isnan(activation[0](jnp.asarray([jnp.nan]))).all()


def test_gelu_is_the_exact_one():
    x = jnp.linspace(-3, 3, 61)
    assert jnp.abs(F.gelu(x) - jax.nn.gelu(x)).max() > 1e-4


def test_parametric_relu_and_its_derivatives(rng):
    x, slope = rng.normal(size=(2, 3, 4)), np.array([0.1, 0.0, 2.0, -0.5])
    with jax.enable_x64(True):
        y, pull = jax.vjp(F.parametric_relu, jnp.asarray(x), jnp.asarray(slope))
        np.testing.assert_allclose(y, np.where(x > 0, x, slope * x), rtol=1e-15)
        upstream = rng.normal(size=x.shape)
        of_x, of_slope = pull(jnp.asarray(upstream))
        np.testing.assert_allclose(of_x, upstream * np.where(x > 0, 1, slope), rtol=1e-14)
        np.testing.assert_allclose(
            of_slope, (upstream * np.minimum(0, x)).sum(axis=(0, 1)), rtol=1e-12
        )


@pytest.mark.parametrize("shape", [(3,), (4, 1), (1, 4)])
def test_parametric_relu_refuses_slopes_that_do_not_fit(shape):
    with pytest.raises(ShapeError, match=r"slope float32\[.*does not fit.*expected \[C\]"):
        F.parametric_relu(jnp.zeros((2, 4)), jnp.zeros(shape))


def test_the_parameter_of_flax_works():
    x = jax.random.normal(jax.random.key(0), (2, 5))
    module = linen.PReLU()
    variables = module.init(jax.random.key(1), x)
    y, _ = jaxcnn.apply(nn.ParametricRelu(), variables["params"], {}, x)
    np.testing.assert_allclose(y, module.apply(variables, x), rtol=1e-6)


def test_parametric_relu_trains_one_slope_a_channel_from_a_quarter():
    params, state = jaxcnn.init(nn.ParametricRelu(), jax.random.key(0), (5, 5, 3))
    np.testing.assert_array_equal(params["negative_slope"], [0.25, 0.25, 0.25])
    assert state == {}
    assert repr(nn.ParametricRelu()) == "ParametricRelu()"
    assert repr(nn.ParametricRelu(slope_init=initializers.zeros)) == (
        "ParametricRelu(slope_init=Constant(value=0.0))"
    )


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.LeakyRelu(), "LeakyRelu(slope=0.01)"),
        (nn.LeakyRelu(0.1), "LeakyRelu(slope=0.1)"),
        (nn.Elu(), "Elu(alpha=1.0)"),
        (nn.gelu, "gelu"),
        (nn.ramp, "ramp"),
    ],
)
def test_layers_print_their_settings(layer, text):
    assert repr(layer) == text


def test_layers_with_other_settings_differ():
    assert nn.LeakyRelu(0.1) != nn.LeakyRelu()
    assert nn.Elu(0.5) != nn.Elu()


@pytest.mark.parametrize("slope", [-0.1, 1.0, float("nan")])
def test_a_slope_outside_its_range_is_refused(slope):
    message = r"slope=.* is not allowed: use \[0, 1\)"
    with pytest.raises(ConfigError, match=message):
        nn.LeakyRelu(slope)
    with pytest.raises(ConfigError, match=message):
        F.leaky_relu(jnp.zeros(1), slope)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_an_alpha_outside_its_range_is_refused(alpha):
    message = "alpha=.* is not allowed: expected a positive, finite number"
    with pytest.raises(ConfigError, match=message):
        nn.Elu(alpha)
    with pytest.raises(ConfigError, match=message):
        F.elu(jnp.zeros(1), alpha)
