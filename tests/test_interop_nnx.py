"""Modules of `flax.nnx` inside networks, and their variables by path."""

from __future__ import annotations

import copy
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxcnn
from jaxcnn import nn
from jaxcnn.errors import ConfigError, MissingKeyError, ShapeError
from jaxcnn.interop.flax import from_linen, params_from_flax, params_to_flax
from tests.conftest import nnx_works
from tests.test_interop_flax import assert_learns

if not nnx_works():
    pytest.skip("flax.nnx of this Flax does not work on this JAX", allow_module_level=True)

from flax import nnx

from jaxcnn.interop.flax.nnx import from_nnx, nnx_variables, set_nnx_variables
from tests.nnx_modules import NnxBlock


class Flagged(nnx.Module):
    """Takes the mode as an argument, and makes a variable in its call."""

    def __init__(self, *, rngs: nnx.Rngs):
        del rngs
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x, *, deterministic):
        if not deterministic:
            self.calls[...] += 1
            self.seen = nnx.Variable(x)
        return x


class RawArray(nnx.Module):
    """Holds an array that is no variable."""

    def __init__(self, *, rngs: nnx.Rngs):
        del rngs
        self.table = nnx.data(jnp.ones(3))

    def __call__(self, x):
        return x


def test_a_mixed_network_learns(small):
    model = nn.chain(
        conv=nn.Conv(3, 3), norm=nn.BatchNorm(), nnx=from_nnx(NnxBlock, 3, 4, rate=0.1),
        pool=nn.MaxPool(2), flat=nn.Flatten(), fc=from_linen(linen.Dense(3)),
    )  # fmt: skip
    assert_learns(model, small)


def test_initial_values_are_those_of_flax(key):
    x = jnp.zeros((1, 4, 4, 2))
    params, state = from_nnx(NnxBlock, 2, 3).init(key, x)
    theirs = nnx_variables(NnxBlock(2, 3, rngs=nnx.Rngs(key)))
    chex.assert_trees_all_equal({"params": params, "batch_stats": state}, theirs)


def test_the_state_after_training_is_that_of_flax(key):
    x = jax.random.normal(key, (5, 4, 4, 2))
    theirs = NnxBlock(2, 3, rate=0.0, rngs=nnx.Rngs(0))
    layer = from_nnx(NnxBlock, 2, 3, rate=0.0)
    like = jaxcnn.init(layer, key, x)
    params, state = params_from_flax(nnx_variables(theirs), like)
    y, after = jaxcnn.apply(layer, params, state, x, train=True, key=key)
    theirs.train()
    np.testing.assert_allclose(y, theirs(x), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(after, nnx_variables(theirs)["batch_stats"], rtol=1e-6)


def test_dropout_follows_the_key(key):
    layer = from_nnx(NnxBlock, 2, 4)
    x = jax.random.normal(key, (8, 4, 4, 2))
    params, state = jaxcnn.init(layer, key, x)
    run = partial(jaxcnn.apply, layer, params, state, x, train=True)
    one, again, other = (run(key=jax.random.key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    with pytest.raises(MissingKeyError, match="holds random streams"):
        run()


def test_an_nnx_call_may_take_the_mode_as_an_argument(key):
    layer = from_nnx(Flagged, eval_flag="deterministic")
    params, state = jaxcnn.init(layer, key, (2,))
    _, after = jaxcnn.apply(layer, params, state, jnp.ones((1, 2)), train=True)
    assert after == {"calls": 1}
    assert jaxcnn.apply(layer, params, after, jnp.ones((1, 2)))[1] is after


def test_descriptions_are_compared_by_value_and_print_no_address():
    init = linen.initializers.he_normal()
    assert repr(from_nnx(nnx.Linear, 2, 3, kernel_init=init)) == (
        "from_nnx(Linear, 2, 3, kernel_init=init)"
    )
    assert from_nnx(nnx.Linear, 2, 3) == copy.deepcopy(from_nnx(nnx.Linear, 2, 3))
    assert from_nnx(nnx.Linear, 2, 3) != from_nnx(nnx.Linear, 2, 4)
    one, two = {"in_features": 2, "out_features": 3}, {"out_features": 3, "in_features": 2}
    assert from_nnx(nnx.Linear, **one) == from_nnx(nnx.Linear, **two)


def test_an_nnx_layer_first_used_in_one_trace_works_in_others(key):
    layer = from_nnx(NnxBlock, 2, 3, rate=0.25)  # settings that no other test uses
    x = jax.random.normal(key, (4, 4, 4, 2))
    params, state = jaxcnn.init(layer, key, x)
    run = partial(jaxcnn.apply, layer, params, state, train=True, key=key)
    with jax.checking_leaks():
        first = jax.jit(run)(x)
    chex.assert_trees_all_close(run(x), first, rtol=1e-5, atol=1e-5)
    jax.jit(jax.grad(lambda x: run(x)[0].sum()))(x)


def test_what_does_not_fit_is_refused(key):
    x = jnp.ones((2, 3))
    with pytest.raises(ConfigError, match="not hashable"):
        from_nnx(nnx.Linear, [1], 2)
    with pytest.raises(ConfigError, match="eval_flag='mode'"):
        jaxcnn.init(from_nnx(nnx.Linear, 2, 2, eval_flag="mode"), key, (2,))
    with pytest.raises(ConfigError, match="'table' that is no variable"):
        jaxcnn.init(from_nnx(RawArray), key, (3,))
    with pytest.raises(ShapeError, match="params lack 'bias'; they hold"):
        jaxcnn.apply(from_nnx(nnx.Linear, 3, 2), {"kernel": jnp.ones((3, 2))}, {}, x)


def test_nnx_modules_are_read_and_written(key):
    layer = from_nnx(NnxBlock, 2, 3)
    x = jax.random.normal(key, (4, 4, 4, 2))
    like = params, state = jaxcnn.init(layer, key, x)
    _, state = jaxcnn.apply(layer, params, state, x, train=True, key=key)
    module = NnxBlock(2, 3, rngs=nnx.Rngs(9))
    set_nnx_variables(module, params_to_flax(params, state))
    module.eval()
    y, _ = jaxcnn.apply(layer, params, state, x)
    np.testing.assert_allclose(module(x), y, rtol=1e-6, atol=1e-6)
    chex.assert_trees_all_equal(params_from_flax(nnx_variables(module), like), (params, state))
    with pytest.raises(ShapeError, match="missing: heads/1/kernel"):
        set_nnx_variables(module, {"params": {}})
