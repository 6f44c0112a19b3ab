"""Flax modules inside networks, networks inside Flax, variables by path."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import data, losses, nn, optim, train
from jaxcnn.errors import ConfigError, MissingKeyError, ShapeError, explain
from jaxcnn.interop.flax import (
    from_linen,
    params_from_flax,
    params_to_flax,
    to_linen,
)
from jaxcnn.typing import Batch
from tests.catalog import LinenBlock

BLOCK = from_linen(LinenBlock(4), train_flag="train", streams=("dropout",))
MIXED = nn.chain(
    conv=nn.Conv(3, 3),
    linen=BLOCK,
    pool=nn.MaxPool(2),
    norm=nn.BatchNorm(),
    flat=nn.Flatten(),
    fc=from_linen(linen.Dense(3)),
)
SHAPE = (12, 12, 1)


class Everything(linen.Module):
    """Takes all that a call can be given, and counts its training calls."""

    @linen.compact
    def __call__(self, x, *, training, mask=None):
        calls = self.variable("counts", "calls", jnp.zeros, ())
        if training and not self.is_initializing():
            calls.value += jnp.sum(mask) if mask is not None else 1
        return x


class Lists(linen.Module):
    """A module with an unhashable setting."""

    sizes: list[int]

    def __call__(self, x):
        return x


class Untidy(linen.Module):
    """Makes a variable only while training."""

    @linen.compact
    def __call__(self, x, train):
        if train:
            self.variable("batch_stats", "late", jnp.zeros, ())
        return linen.BatchNorm(use_running_average=True)(x)


class Pair(linen.Module):
    """Returns two arrays."""

    def __call__(self, x):
        return x, x


class Integers(linen.Module):
    """Returns integers."""

    def __call__(self, x):
        return jnp.argmax(x, axis=-1)


def assert_learns(model, small):
    """The common training step trains all parameters and moves all statistics."""
    optimizer = optim.optimizer("nesterov", 0.05)
    loss = losses.softmax_cross_entropy
    step = jax.jit(train.make_train_step(model, loss, optimizer, prepare=data.Scale()))
    start = ts = train.init_train_state(model, optimizer, jax.random.key(0), SHAPE)
    batch = Batch(jnp.asarray(small.train.images), jnp.asarray(small.train.labels))
    chex.clear_trace_counter()
    sums = []
    for _ in range(40):
        ts, counts = step(ts, batch, jax.random.key(1))
        sums.append(float(counts["loss_sum"]))
    assert sums[-1] < 0.2 * sums[0]
    chex.assert_trees_all_equal_shapes_and_dtypes(ts, start)
    for part in ("params", "state"):
        before, after = getattr(start, part), getattr(ts, part)
        moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before, after)
        assert all(jax.tree.leaves(moved)), moved
    evaluate = train.make_eval_step(model, loss, prepare=data.Scale())
    tests = Batch(jnp.asarray(small.test.images), jnp.asarray(small.test.labels))
    assert evaluate(ts.params, ts.state, tests)["correct"] >= 43  # of 45


class TestFlaxInside:
    def test_a_mixed_network_learns(self, small):
        assert_learns(MIXED, small)

    def test_initial_values_are_those_of_flax(self, key):
        x = jnp.zeros((1, 4, 4, 2))
        params, state = BLOCK.init(key, x)
        theirs = LinenBlock(4).init({"params": key, "dropout": key}, x, train=False)
        chex.assert_trees_all_equal({"params": params, **state}, theirs)

    def test_the_state_after_training_is_that_of_flax(self, key):
        x = jax.random.normal(key, (5, 4, 4, 2))
        module = LinenBlock(4, rate=0.0)
        layer = from_linen(module, train_flag="train", streams=("dropout",))
        params, state = jaxcnn.init(layer, key, x)
        y, after = jaxcnn.apply(layer, params, state, x, train=True, key=key)
        wanted, changed = module.apply(
            {"params": params, **state}, x, train=True, mutable=["batch_stats"]
        )
        np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-6)
        chex.assert_trees_all_close(after, changed, rtol=1e-6)

    @pytest.mark.parametrize("layer", [BLOCK])
    def test_dropout_follows_the_key(self, layer, key):
        x = jnp.ones((8, 4, 4, 2)) + jax.random.normal(key, (8, 4, 4, 2))
        params, state = jaxcnn.init(layer, key, x)
        run = partial(jaxcnn.apply, layer, params, state, x, train=True)
        one, again, other = (run(key=jax.random.key(seed))[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)
        with pytest.raises(MissingKeyError, match="streams"):
            run()

    def test_the_mask_and_further_collections_reach_the_module(self, key):
        layer = from_linen(
            Everything(), train_flag="training", mask_argument="mask", collections=("counts",)
        )
        x = jnp.ones((3, 2))
        params, state = jaxcnn.init(layer, key, x)
        mask = jnp.asarray([True, True, False])
        _, state = jaxcnn.apply(layer, params, state, x, train=True)
        _, state = jaxcnn.apply(layer, params, state, x, train=True, mask=mask)
        assert state["counts"]["calls"] == 3
        _, state = jaxcnn.apply(layer, params, state, x)
        assert state["counts"]["calls"] == 3

    def test_batch_statistics_over_devices_need_the_axis_in_the_module(self, key):
        norm = linen.BatchNorm(momentum=0.9, axis_name="data")
        layer = from_linen(norm, eval_flag="use_running_average")
        alone = from_linen(norm.clone(axis_name=None), eval_flag="use_running_average")
        x = jax.random.normal(key, (8, 3))
        params, state = jaxcnn.init(layer, key, x)

        def run(x):
            return jaxcnn.apply(layer, params, state, x, train=True, axis_name="data")

        mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.shard_map(run, mesh=mesh, in_specs=P("data"), out_specs=(P("data"), P()))
        whole = jaxcnn.apply(alone, params, state, x, train=True)
        chex.assert_trees_all_close(jax.jit(split)(x), whole, rtol=1e-5, atol=1e-6)

    def test_descriptions_print_their_settings_and_no_address(self):
        layer = from_linen(LinenBlock(4), train_flag="train", streams=("dropout",))
        assert repr(layer) == (
            "from_linen(LinenBlock(features=4), train_flag='train', streams=('dropout',))"
        )
        init = linen.initializers.he_normal()
        sequence = linen.Sequential((linen.Dense(2, kernel_init=init), linen.relu))
        assert repr(from_linen(sequence)) == (
            "from_linen(Sequential(layers=(Dense(features=2, kernel_init=init), relu)))"
        )

    def test_settings_that_do_not_fit_are_refused(self, key):
        with pytest.raises(ConfigError, match=r"call of Dense takes \['inputs'\]"):
            from_linen(linen.Dense(2), train_flag="train")
        with pytest.raises(ConfigError, match="not hashable"):
            from_linen(Lists([1, 2]))
        with pytest.raises(ConfigError, match=r"makes variables in \['counts'\]"):
            jaxcnn.init(from_linen(Everything(), train_flag="training"), key, (2,))

    def test_modules_that_break_the_contract_are_refused(self, key):
        x = jnp.ones((2, 3))
        layer = from_linen(Untidy(), train_flag="train")
        params, state = jaxcnn.init(layer, key, x)
        with pytest.raises(ShapeError, match="changed the structure of its state"):
            jaxcnn.apply(layer, params, state, x, train=True)
        for module, text in ((Pair(), "returned a tuple"), (Integers(), "expected a floating")):
            with pytest.raises(ShapeError, match=text) as caught:
                jaxcnn.apply(nn.chain(it=from_linen(module)), {}, {}, x)
            assert "in layer it: from_linen(" in explain(caught.value)


class TestInsideFlax:
    NET = nn.chain(fc=nn.Dense(4), norm=nn.BatchNorm(), drop=nn.Dropout(0.5), out=nn.Dense(2))

    def test_it_computes_what_the_network_does(self, key):
        x = jax.random.normal(key, (6, 3))
        model = to_linen(self.NET)
        variables = model.init(key, x)
        wanted = jaxcnn.init(self.NET, key, x)
        chex.assert_trees_all_equal_shapes_and_dtypes(
            (variables["params"], variables["batch_stats"]), wanted
        )
        params, state = variables["params"], variables["batch_stats"]
        y, _ = jaxcnn.apply(self.NET, params, state, x)
        np.testing.assert_array_equal(model.apply(variables, x), y)
        _, changed = model.apply(
            variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        _, after = jaxcnn.apply(self.NET, params, state, x, train=True, key=key)
        chex.assert_trees_all_close(changed["batch_stats"], after, rtol=1e-6)
        with pytest.raises(MissingKeyError, match="'drop' drops activations"):
            model.apply(variables, x, train=True, mutable=["batch_stats"])

    def test_it_may_stand_inside_a_flax_model(self, key):
        class Model(linen.Module):
            @linen.compact
            def __call__(self, x, train=False):
                x = to_linen(nn.chain(norm=nn.BatchNorm()), name="body")(x, train=train)
                return linen.Dense(2)(x)

        x = jax.random.normal(key, (6, 3))
        variables = Model().init(key, x)
        assert set(variables["params"]) == {"body", "Dense_0"}
        assert set(variables["batch_stats"]["body"]["norm"]) == {"mean", "var"}
        _, changed = Model().apply(variables, x, train=True, mutable=["batch_stats"])
        mean = changed["batch_stats"]["body"]["norm"]["mean"]
        np.testing.assert_allclose(mean, 0.1 * x.mean(0), rtol=1e-5, atol=1e-7)

    def test_there_and_back(self, key):
        x = jax.random.normal(key, (5, 4, 4, 2))
        model = to_linen(nn.chain(inner=BLOCK))
        variables = model.init(key, x)
        inner = variables["params"]["inner"], variables["batch_stats"]["inner"]
        y, _ = jaxcnn.apply(BLOCK, *inner, x)
        np.testing.assert_array_equal(model.apply(variables, x), y)


class Classifier(linen.Module):
    """Auto-named modules, as in most Flax code."""

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(4, (3, 3), padding="VALID")(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = linen.Conv(2, (3, 3), padding="VALID")(linen.relu(x))
        return linen.Dense(3)(x.reshape(x.shape[0], -1))


OURS = nn.chain(
    stem=nn.chain(conv=nn.Conv(4, 3), norm=nn.BatchNorm(), act=nn.relu),
    conv=nn.Conv(2, 3),
    flat=nn.Flatten(),
    fc=nn.Dense(3),
)
RENAME = {
    "Conv_0": "stem/conv",
    "BatchNorm_0": "stem/norm",
    "Conv_1": "conv",
    "Dense_0": "fc",
}


class TestVariables:
    @pytest.fixture
    def theirs(self):
        x = jax.random.normal(jax.random.key(3), (4, 6, 6, 1))
        variables = Classifier().init(jax.random.key(4), x)
        _, changed = Classifier().apply(variables, x, train=True, mutable=["batch_stats"])
        return {**variables, **changed}

    @pytest.fixture
    def like(self, key):
        return jax.eval_shape(lambda: jaxcnn.init(OURS, key, (6, 6, 1)))

    def test_taken_over_they_give_the_same_outputs(self, theirs, like, key):
        x = jax.random.normal(key, (4, 6, 6, 1))
        params, state = params_from_flax(theirs, like, rename=RENAME)
        y, _ = jaxcnn.apply(OURS, params, state, x)
        np.testing.assert_allclose(y, Classifier().apply(theirs, x), rtol=1e-5, atol=1e-5)
        back = params_to_flax(params, state, rename=RENAME, like=theirs)
        chex.assert_trees_all_equal(back, theirs)
        chex.assert_trees_all_equal(params_to_flax(params, state, rename=RENAME), theirs)

    def test_boxed_and_numpy_leaves_are_taken(self, theirs, like):
        boxed = jax.tree.map(lambda a: linen.Partitioned(np.asarray(a), names=()), theirs)
        params, _ = params_from_flax(boxed, like, rename=RENAME)
        assert isinstance(params["fc"]["bias"], jax.Array)

    def test_errors_name_every_path(self, theirs, like):
        with pytest.raises(ShapeError, match="missing: stem/conv/kernel") as caught:
            params_from_flax(theirs, like)
        assert "unexpected: Conv_0/kernel float32[3, 3, 1, 4]" in str(caught.value)
        theirs["params"]["Dense_0"]["bias"] = jnp.zeros(5)
        with pytest.raises(ShapeError, match=r"fc/bias is float32\[5\], expected float32\[3\]"):
            params_from_flax(theirs, like, rename=RENAME)
        theirs["params"]["Dense_0"]["bias"] = jnp.zeros(3, jnp.bfloat16)
        with pytest.raises(ShapeError, match=r"fc/bias is bfloat16\[3\], expected float32"):
            params_from_flax(theirs, like, rename=RENAME)
        del theirs["batch_stats"]["BatchNorm_0"]["var"]
        theirs["params"]["Dense_0"]["bias"] = jnp.zeros(3)
        with pytest.raises(ShapeError, match=r"'batch_stats' do not fit(.|\n)*stem/norm/var"):
            params_from_flax(theirs, like, rename=RENAME)

    def test_long_lists_of_problems_are_cut(self):
        many = {f"layer{i}": {"bias": jnp.zeros(1)} for i in range(24)}
        with pytest.raises(ShapeError, match="and 4 more"):
            params_from_flax({"params": many}, ({}, {}))

    def test_renaming_must_be_right(self, theirs, like):
        with pytest.raises(ConfigError, match=r"rename names \['Conv_7'\]"):
            params_from_flax(theirs, like, rename={**RENAME, "Conv_7": "other"})
        with pytest.raises(ConfigError, match="sends two variables of 'params'"):
            params_from_flax(theirs, like, rename={**RENAME, "Conv_1": "stem/conv"})
        with pytest.raises(ConfigError, match="no way back"):
            params_to_flax({}, {}, rename={"a": "c", "b": "c"})
        longest = {"Conv_0": "x", "Conv_0/kernel": "stem/conv/kernel", "Conv_0/bias": "y"}
        moved = params_to_flax(
            {"stem": {"conv": {"kernel": 1}}, "y": 2, "x": {"more": 3}}, {}, rename=longest
        )
        assert moved == {"params": {"Conv_0": {"kernel": 1, "bias": 2, "more": 3}}}

    def test_other_collections_are_refused(self, theirs, like):
        with pytest.raises(ShapeError, match=r"Take \['cache'\] out"):
            params_from_flax({**theirs, "cache": {"a": jnp.ones(())}}, like, rename=RENAME)


def test_a_bare_flax_module_in_a_chain_says_how_to_wrap_it():
    with pytest.raises(ConfigError, match=r"fc=Dense is a Flax module: wrap it"):
        nn.chain(fc=linen.Dense(2))
