"""Layers beside those of Flax, with the same parameters: outputs and gradients agree."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import nn


def same(ours, theirs, params, x, *, rtol=1e-9):
    """Outputs, and gradients in parameters and input, of `(params, x) -> (y, state)` agree."""
    # Flax's batch norm and pooling do not run under strict promotion.
    theirs = jax.numpy_dtype_promotion("standard")(theirs)
    (y, state), (wanted, their_state) = ours(params, x), theirs(params, x)
    np.testing.assert_allclose(y, wanted, rtol=rtol, atol=rtol)
    chex.assert_trees_all_close(state, their_state, rtol=rtol, atol=rtol)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=y.shape))

    def gradients(run):
        return jax.grad(lambda p, x: jnp.sum(weights * run(p, x)[0]), argnums=(0, 1))(params, x)

    chex.assert_trees_all_close(gradients(ours), gradients(theirs), rtol=rtol, atol=rtol)


def as_linen(module, **arguments):
    def run(params, x):
        return module.apply({"params": params}, x, **arguments), {}

    return run


def as_ours(layer, **arguments):
    return lambda params, x: jaxcnn.apply(layer, params, {}, x, **arguments)


def draw_of(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def params_of(layer, x, seed):
    """Parameters of no special value, in float64."""
    params, _ = jaxcnn.init(layer, jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(params)
    return tree.unflatten([draw_of(seed + i, *leaf.shape) for i, leaf in enumerate(leaves)])


def check_conv(seed, batch, height, width, window, stride, dilation, groups, padding, bias):
    with jax.enable_x64(True):
        x = draw_of(seed, batch, height, width, 2 * groups)
        ours = nn.Conv(
            3 * groups, window, stride=stride, dilation=dilation, groups=groups, bias=bias,
            padding=padding, rounding="floor",
        )  # fmt: skip
        theirs = linen.Conv(
            3 * groups, window, strides=stride, kernel_dilation=dilation, use_bias=bias,
            feature_group_count=groups, padding=padding,
        )  # fmt: skip
        same(as_ours(ours), as_linen(theirs), params_of(ours, x, seed), x)


def check_dense(seed, batch, features, outputs, bias):
    with jax.enable_x64(True):
        x = draw_of(seed, batch, features)
        ours, theirs = nn.Dense(outputs, bias=bias), linen.Dense(outputs, use_bias=bias)
        same(as_ours(ours), as_linen(theirs), params_of(ours, x, seed), x)


def check_batch_norm(seed, batch, space, channels, decay, training):
    with jax.enable_x64(True):
        x = 3 + 2 * draw_of(seed, batch, *space, channels)
        layer = nn.BatchNorm(decay=decay)
        module = linen.BatchNorm(momentum=decay, use_fast_variance=False)
        mean, var = draw_of(seed + 1, channels), 0.5 + draw_of(seed + 2, channels) ** 2
        state = {"mean": mean, "var": var}

        def ours(params, x):
            return jaxcnn.apply(layer, params, state, x, train=training)

        def theirs(params, x):
            y, changed = module.apply(
                {"params": params, "batch_stats": state}, x,
                use_running_average=not training, mutable=["batch_stats"],
            )  # fmt: skip
            return y, changed["batch_stats"]

        same(ours, theirs, params_of(layer, x, seed), x)


def check_pools(seed, batch, height, width, window, stride, padding):
    with jax.enable_x64(True):
        x = draw_of(seed, batch, height, width, 2)
        sizes = {"strides": (stride,) * 2, "padding": padding}
        for ours, theirs in ((F.max_pool, linen.max_pool), (F.avg_pool, linen.avg_pool)):
            same(
                lambda _, x, ours=ours: (
                    ours(x, window, stride=stride, padding=padding, rounding="floor"), {}
                ),
                lambda _, x, theirs=theirs: (theirs(x, window, **sizes), {}),
                {},
                x,
            )  # fmt: skip


SEEDS = st.integers(0, 2**16)
PADDINGS = st.sampled_from(["SAME", "VALID"])
CASES = {
    "conv": (
        check_conv,
        {
            "batch": st.integers(1, 3),
            "height": st.integers(5, 9),
            "width": st.integers(5, 9),
            "window": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "stride": st.integers(1, 3),
            "dilation": st.integers(1, 2),
            "groups": st.integers(1, 3),
            "padding": PADDINGS,
            "bias": st.booleans(),
        },
    ),
    "dense": (
        check_dense,
        {
            "batch": st.integers(1, 4),
            "features": st.integers(1, 6),
            "outputs": st.integers(1, 5),
            "bias": st.booleans(),
        },
    ),
    "batch_norm": (
        check_batch_norm,
        {
            "batch": st.integers(2, 5),
            "space": st.sampled_from([(), (3,), (2, 3)]),
            "channels": st.integers(1, 4),
            "decay": st.floats(0, 1),
            "training": st.booleans(),
        },
    ),
    "pools": (
        check_pools,
        {
            "batch": st.integers(1, 3),
            "height": st.integers(4, 8),
            "width": st.integers(4, 8),
            "window": st.tuples(st.integers(1, 3), st.integers(1, 3)),
            "stride": st.integers(1, 3),
            "padding": PADDINGS,
        },
    ),
}


class TestParity:
    """Outputs, statistics and gradients equal Flax's, in float64."""

    @pytest.mark.parametrize("name", CASES)
    def test_on_a_few_draws(self, name):
        self.run(name, 2)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", CASES)
    def test_on_many_draws(self, name):
        self.run(name, 100)

    def run(self, name, draws):
        check, given_by = CASES[name]
        settings(max_examples=draws, deadline=None)(given(seed=SEEDS, **given_by)(check))()

    def test_the_fast_variance_of_flax_agrees_where_the_mean_is_small(self, key):
        x = jax.random.normal(key, (64, 3))
        layer = nn.BatchNorm()
        params, state = jaxcnn.init(layer, key, x)
        y, after = jaxcnn.apply(layer, params, state, x, train=True)
        module = linen.BatchNorm(momentum=0.9, use_running_average=False)
        wanted, changed = module.apply(
            {"params": params, "batch_stats": state}, x, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
        chex.assert_trees_all_close(after, changed["batch_stats"], rtol=1e-5, atol=1e-6)

    def test_dropout_has_the_statistics_of_flax(self, key):
        rate, x = 0.3, jnp.ones((200, 500))
        ours, _ = jaxcnn.apply(nn.Dropout(rate), {}, {}, x, train=True, key=key)
        theirs = linen.Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": key})
        deviation = np.sqrt(rate * (1 - rate) / x.size)
        for y in (ours, theirs):
            assert abs(float(jnp.mean(y == 0)) - rate) < 5 * deviation
            np.testing.assert_allclose(jnp.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)

    def test_gelu_of_flax_is_approximate(self):
        x = jnp.linspace(-4, 4, 101)
        apart = jnp.abs(F.gelu(x) - linen.gelu(x)).max()
        assert 1e-4 < apart < 6e-4
        np.testing.assert_allclose(F.gelu(x), linen.gelu(x, approximate=False), atol=1e-6)
