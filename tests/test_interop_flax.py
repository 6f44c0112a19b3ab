"""Flax modules inside networks, networks inside Flax, variables by path, and parity with Flax."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import data, losses, nn, optim, train
from jaxcnn import functional as F
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


def test_a_bare_flax_module_in_a_chain_says_how_to_wrap_it():
    with pytest.raises(ConfigError, match=r"fc=Dense is a Flax module: wrap it"):
        nn.chain(fc=linen.Dense(2))
