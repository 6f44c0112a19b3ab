"""Initial values: their moments, bounds and distributions, and the refusal of constants."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxcnn
from jaxcnn import initializers, losses, nn
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.initializers import Constant, Normal, TruncatedNormal, Uniform, VarianceScaling

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 3 * 3 * 40, 3 * 3 * 60
CUT = stats.truncnorm(-2, 2).std()


def uniform(variance):
    bound = np.sqrt(3 * variance)
    return stats.uniform(-bound, 2 * bound)


def cut_normal(variance):
    return stats.truncnorm(-2, 2, scale=np.sqrt(variance) / CUT)


# name: (initializer, variance by formula, distribution of that variance)
RANDOM = {
    "lecun_normal": (initializers.lecun_normal, 1 / FAN_IN, cut_normal),
    "lecun_uniform": (initializers.lecun_uniform, 1 / FAN_IN, uniform),
    "he_normal": (initializers.he_normal, 2 / FAN_IN, cut_normal),
    "he_uniform": (initializers.he_uniform, 2 / FAN_IN, uniform),
    "glorot_normal": (initializers.glorot_normal, 2 / (FAN_IN + FAN_OUT), cut_normal),
    "glorot_uniform": (initializers.glorot_uniform, 2 / (FAN_IN + FAN_OUT), uniform),
    "uniform": (Uniform(0.3), 0.3**2 / 3, uniform),
    "normal": (Normal(0.3), 0.3**2, lambda v: stats.norm(scale=np.sqrt(v))),
    "truncated_normal": (TruncatedNormal(0.3), 0.3**2, cut_normal),
    "fan_out": (VarianceScaling(1.0, "fan_out", "normal"), 1 / FAN_OUT, None),
}


@pytest.mark.parametrize("name", RANDOM)
def test_mean_variance_and_distribution(name):
    initializer, variance, distribution = RANDOM[name]
    draw = np.asarray(initializer(jax.random.key(0), SHAPE), np.float64).ravel()
    n = draw.size  # 21,600
    assert abs(draw.mean()) < 4 * np.sqrt(variance / n)
    # The variance of a sample varies by at most sqrt(2 / n) of itself: a normal's.
    assert draw.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))
    if distribution is not None:
        assert distribution(variance).std() == pytest.approx(np.sqrt(variance), rel=1e-6)
        assert stats.kstest(draw, distribution(variance).cdf).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_the_variance_over_many_keys(name):
    initializer, variance, _ = RANDOM[name]
    # Key 1 happens to draw a normal 4.1 deviations too wide; over 40 other keys there is no bias.
    keys = jax.random.split(jax.random.key(2), 100)
    draws = jax.vmap(lambda key: initializer(key, SHAPE))(keys)
    n = draws.size
    assert np.var(np.asarray(draws, np.float64)) == pytest.approx(variance, rel=4 * np.sqrt(2 / n))


def test_bounds():
    draw = np.abs(np.asarray(TruncatedNormal(0.3)(jax.random.key(0), SHAPE)))
    assert 0.3 * 2.2 < draw.max() <= 0.3 * 2 / CUT * (1 + 1e-6)
    draw = np.abs(np.asarray(Uniform(0.3)(jax.random.key(0), SHAPE)))
    assert 0.299 < draw.max() <= 0.3


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,)])
def test_shape_and_dtype(shape):
    for initializer in (Uniform(0.1), Normal(0.1), TruncatedNormal(0.1), Constant(2.0)):
        for dtype in (jnp.float32, jnp.bfloat16):
            got = initializer(jax.random.key(0), shape, dtype)
            assert got.shape == shape
            assert got.dtype == dtype


def test_constants():
    np.testing.assert_array_equal(initializers.zeros(jax.random.key(0), (2, 2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(initializers.ones(jax.random.key(0), (2,)), np.ones(2))
    np.testing.assert_array_equal(Constant(-3.0)(jax.random.key(0), (2,)), [-3, -3])


def test_equal_settings_are_equal_and_print_without_addresses():
    for make in (Uniform, Normal, TruncatedNormal, Constant):
        assert make(0.5) == make(0.5)
        assert hash(make(0.5)) == hash(make(0.5))
        assert make(0.5) != make(0.25)
        assert "0x" not in repr(make(0.5))
    assert Uniform(0.5) != Normal(0.5)
    assert repr(Constant(0.0)) == "Constant(value=0.0)"
    assert repr(Constant(0.0, allow_kernel=True)) == "Constant(value=0.0, allow_kernel=True)"


NAMES = (
    "constant, glorot_normal, glorot_uniform, he_normal, he_uniform, lecun_normal, "
    "lecun_uniform, normal, ones, truncated_normal, uniform, zeros"
)


def test_every_name_is_found():
    setting = {"constant": "value", "uniform": "bound"}
    for name in NAMES.split(", "):
        if name in ("constant", "normal", "truncated_normal", "uniform"):
            found = initializers.by_name(name, **{setting.get(name, "stddev"): 0.5})
        else:
            found = initializers.by_name(name)
            assert found == getattr(initializers, name)
        assert found(jax.random.key(0), (4, 4)).shape == (4, 4)


def test_an_unknown_name_lists_the_names():
    with pytest.raises(ConfigError, match=f"initializer 'xavier' is unknown: use one of {NAMES}"):
        initializers.by_name("xavier")


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="'he_normal' takes no settings, got stddev"):
        initializers.by_name("he_normal", stddev=0.1)
    with pytest.raises(ConfigError, match="'uniform' takes exactly 'bound', got nothing"):
        initializers.by_name("uniform")
    with pytest.raises(ConfigError, match="'normal' takes exactly 'stddev', got bound"):
        initializers.by_name("normal", bound=0.1)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_must_be_positive(value):
    for make, setting in ((Uniform, "bound"), (Normal, "stddev"), (TruncatedNormal, "stddev")):
        with pytest.raises(ConfigError, match=f"{setting}=.* is not allowed: expected a positive"):
            make(value)
    with pytest.raises(ConfigError, match=r"scale=.* is not allowed: expected a positive"):
        VarianceScaling(value, "fan_in", "normal")


def test_unknown_modes_and_distributions_are_refused():
    with pytest.raises(ConfigError, match="mode='fan' is unknown: use one of fan_in, fan_out, fan"):
        VarianceScaling(1.0, "fan", "normal")
    with pytest.raises(ConfigError, match="distribution='gauss' is unknown: use one of truncated"):
        VarianceScaling(1.0, "fan_in", "gauss")


def test_a_bias_has_no_fan():
    with pytest.raises(ShapeError, match=r"(?s)shape \[5\] has no fan-in.*For a bias use"):
        initializers.he_normal(jax.random.key(0), (5,))


CONSTANTS = [
    initializers.zeros,
    initializers.ones,
    Constant(0.3),
    jax.nn.initializers.zeros,
    jax.nn.initializers.ones,
]


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize(
    "layer",
    [nn.Dense, nn.Conv, nn.ConvTranspose, nn.LocallyConnected, nn.Maxout, nn.MultiHeadAttention]
    + [partial(nn.PatchEmbedding, patch=2), nn.DepthwiseConv],
)
def test_layers_refuse_constant_kernels_and_say_why(layer, constant):
    with pytest.raises(ConfigError, match=r"(?s)kernel_init=.*copies.*allow_kernel=True") as e:
        layer(3, kernel_init=constant)
    assert "0x" not in str(e.value)


@pytest.mark.parametrize("layer", [nn.Dense, nn.Conv])
def test_layers_take_constant_kernels_that_are_meant_and_constant_biases(layer):
    layer(3, bias_init=initializers.ones)
    made = layer(3, kernel_init=Constant(0.5, allow_kernel=True))
    params, _ = jaxcnn.init(made, jax.random.key(0), (5, 5, 2))
    np.testing.assert_array_equal(params["kernel"], np.full(params["kernel"].shape, 0.5))


def test_layers_take_any_other_function():
    nn.Dense(3, kernel_init=jax.nn.initializers.orthogonal())
    initializers.check_kernel(initializers.he_uniform)


def test_the_units_of_constant_kernels_get_equal_gradients_and_so_stay_equal(rng):
    """The reason for the refusal."""
    x, labels = jnp.asarray(rng.normal(size=(8, 3)), jnp.float32), jnp.arange(8) % 2

    def gradient(kernel_init):
        layers = {"hidden": nn.Dense(4, kernel_init=kernel_init), "act": nn.tanh}
        model = nn.chain(**layers, out=nn.Dense(1, kernel_init=kernel_init))
        params, state = jaxcnn.init(model, jax.random.key(0), (3,))

        def objective(params):
            logits, _ = jaxcnn.apply(model, params, state, x)
            return losses.binary_cross_entropy(logits, labels).mean()

        return np.asarray(jax.grad(objective)(params)["hidden"]["kernel"])

    constant = gradient(Constant(0.2, allow_kernel=True))
    assert np.abs(constant).min() > 1e-4
    np.testing.assert_allclose(constant, np.repeat(constant[:, :1], 4, axis=1), rtol=1e-5)
    assert np.ptp(gradient(initializers.lecun_normal), axis=1).min() > 1e-3
