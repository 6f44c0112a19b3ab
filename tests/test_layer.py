"""The core: paths, keys, taps, errors, init, apply, features, ledger."""

from __future__ import annotations

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import models, nn
from jaxcnn.errors import ConfigError, ShapeError, explain
from jaxcnn.layer import init_child

NET = nn.chain(
    block=nn.branch(nn.add, body=nn.Conv(2, 3, padding=1), skip=nn.identity),
    flatten=nn.Flatten(),
    drop=nn.Dropout(0.5),
    fc=nn.Dense(3),
)
SHAPE = (5, 5, 2)


@pytest.fixture
def net(key):
    return jaxcnn.init(NET, key, SHAPE)


def test_features_are_named_by_path_in_order_of_execution(net):
    x = jnp.ones((1, *SHAPE))
    assert list(jaxcnn.features(NET, *net, x)) == [
        "block/body",
        "block/skip",
        "block",
        "flatten",
        "drop",
        "fc",
    ]


def test_a_tap_may_replace_what_flows_on(net):
    x = jnp.ones((1, *SHAPE))

    def cut(path, layer, x, y):
        return jnp.zeros_like(y) if path == "block" else y

    y, _ = jaxcnn.apply(NET, *net, x, tap=cut)
    np.testing.assert_array_equal(y[0], net[0]["fc"]["bias"])


def test_a_tap_gives_the_gradient_with_respect_to_a_feature_map(net):
    x = jnp.ones((1, *SHAPE))

    def score(change):
        def shift(path, layer, x, y):
            return y + change if path == "flatten" else y

        return jaxcnn.apply(NET, *net, x, tap=shift)[0][0, 1]

    gradient = jax.grad(score)(jnp.zeros((1, 50)))
    np.testing.assert_allclose(gradient[0], net[0]["fc"]["kernel"][:, 1], rtol=1e-6)


def test_inserting_a_layer_does_not_reseed_the_others(key):
    before = jaxcnn.init(models.lenet5(), key, (28, 28, 1))[0]
    layers = dict(models.lenet5().layers)
    after = nn.chain(new=nn.Conv(1, 3, padding=1), **layers)
    params = jaxcnn.init(after, key, (28, 28, 1))[0]
    chex.assert_trees_all_equal({k: v for k, v in params.items() if k != "new"}, before)


def test_dropout_keys_follow_names_not_places(net, key):
    x = jnp.ones((4, 6))
    one = nn.chain(drop=nn.Dropout(0.5))
    two = nn.chain(first=nn.Dropout(0.0), drop=nn.Dropout(0.5))
    outs = [jaxcnn.apply(m, {}, {}, x, train=True, key=key)[0] for m in (one, two)]
    np.testing.assert_array_equal(*outs)
    other = nn.chain(other=nn.Dropout(0.5))
    assert not np.array_equal(outs[0], jaxcnn.apply(other, {}, {}, x, train=True, key=key)[0])


def test_an_error_inside_names_path_layer_and_input(key):
    model = nn.chain(block=nn.chain(a=nn.Conv(4, 3), b=nn.Conv(4, 9)), rest=nn.Flatten())
    with pytest.raises(ShapeError, match="larger than the input") as caught:
        jaxcnn.init(model, key, (8, 8, 1))
    assert explain(caught.value).endswith(
        "in layer block/b: Conv(features=4, kernel=9) on float32[1, 6, 6, 4]"
    )
    params, state = jaxcnn.init(model, key, (12, 12, 1))
    with pytest.raises(ShapeError, match=r"the input .* has 3") as caught:
        jaxcnn.apply(model, params, state, jnp.ones((1, 12, 12, 3)))
    assert "in layer block/a: Conv(features=4) on float32[1, 12, 12, 3]" in explain(caught.value)


def test_a_researchers_layer_needs_two_methods_and_no_base_class(key):
    @dataclasses.dataclass(frozen=True)
    class Gain:
        start: float = 2.0

        def init(self, key, x):
            return {"gain": jnp.full((x.shape[-1],), self.start)}, {}

        def apply(self, params, state, x, ctx):
            return x * params["gain"].reshape(1, -1), state

    model = nn.chain(gain=Gain(), fc=nn.Dense(2))
    params, state = jaxcnn.init(model, key, (3,))
    y, _ = jaxcnn.apply(model, params, state, jnp.ones((1, 3)))
    np.testing.assert_allclose(y, F.dense(jnp.full((1, 3), 2.0), **params["fc"]), rtol=1e-6)
    assert jaxcnn.ledger(model, (3,)).params == 3 + 8


def test_functional_alone_is_a_network(key):
    params = {"c": jnp.ones((3, 3, 1, 2)), "d": jnp.ones((18, 4))}

    def net(p, x):
        return F.dense(F.flatten(F.relu(F.conv2d(x, p["c"]))), p["d"])

    assert net(params, jnp.ones((2, 5, 5, 1))).shape == (2, 4)


@pytest.mark.parametrize(
    ("x", "spec"),
    [
        ((28, 28, 1), (1, 28, 28, 1)),
        (np.zeros((3, 28, 28, 1), np.float32), (3, 28, 28, 1)),
        (jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32), (2, 28, 28, 1)),
    ],
)
def test_init_takes_an_array_a_spec_or_one_images_shape(key, x, spec):
    from jaxcnn.api import input_spec

    assert input_spec(x).shape == spec
    chex.assert_trees_all_equal(
        jaxcnn.init(models.lenet5(), key, x), jaxcnn.init(models.lenet5(), key, (28, 28, 1))
    )


def test_bad_arguments_of_init_say_what_to_pass(key):
    with pytest.raises(ConfigError, match=r"pass `jax.random.key\(seed\)`"):
        jaxcnn.init(NET, 0, SHAPE)
    with pytest.raises(ConfigError, match="the shape of one image"):
        jaxcnn.init(NET, key, (0, 5, 2))
    with pytest.raises(ConfigError, match="the shape of one image"):
        jaxcnn.init(NET, key, "28x28")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.chain(a=3), "is not a layer"),
        (lambda: nn.chain(a=nn.Conv), "is not a layer"),
        (lambda: nn.chain(**{"a/b": nn.relu}), "without '/'"),
        (lambda: nn.chain(), "at least one layer"),
        (lambda: nn.branch(nn.add), "at least one layer"),
        (lambda: nn.Conv(0), "features=0 is not allowed"),
        (lambda: nn.Dense(-1), "features=-1 is not allowed"),
        (lambda: nn.Dropout(1.0), "rate=1.0 is not allowed"),
        (lambda: nn.Dropout(-0.1), "fraction dropped"),
        (lambda: nn.BatchNorm(decay=1.5), "decay=1.5"),
        (lambda: models.lenet5(variant="2024"), "use 'modern' or '1998'"),
        (lambda: models.lenet5(trainable_subsampling=True), "needs variant='1998'"),
    ],
)
def test_bad_descriptions_are_refused_when_they_are_made(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_branches_that_do_not_fit_say_so():
    add = nn.branch(nn.add, body=nn.Conv(3, 3), skip=nn.identity)
    with pytest.raises(ShapeError, match=r"different shapes: float32\[1, 3, 3, 3\]"):
        jaxcnn.ledger(add, (5, 5, 3))
    with pytest.raises(ShapeError, match="cannot concatenate branches"):
        nn.concat(jnp.ones((1, 3, 3, 1)), jnp.ones((1, 2, 3, 1)))


def test_batch_norm_state_moves_by_decay():
    layer = nn.BatchNorm(decay=0.75)
    params, state = jaxcnn.init(layer, jax.random.key(0), (2,))
    x = jnp.asarray([[1.0, 0.0], [3.0, 4.0]])
    y, after = jaxcnn.apply(layer, params, state, x, train=True)
    np.testing.assert_allclose(after["mean"], 0.25 * np.array([2.0, 2.0]))
    np.testing.assert_allclose(after["var"], 0.75 + 0.25 * np.array([1.0, 4.0]))
    np.testing.assert_allclose(y, [[-1.0, -1.0], [1.0, 1.0]], rtol=1e-4)


def test_batch_norm_leaves_padding_rows_out(rng):
    layer = nn.BatchNorm()
    x = rng.normal(size=(6, 4, 4, 3)).astype(np.float32)
    params, state = jaxcnn.init(layer, jax.random.key(0), x)
    mask = jnp.arange(6) < 4
    y, after = jaxcnn.apply(layer, params, state, jnp.asarray(x), train=True, mask=mask)
    y4, after4 = jaxcnn.apply(layer, params, state, jnp.asarray(x[:4]), train=True)
    np.testing.assert_allclose(y[:4], y4, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(after, after4, rtol=1e-5)
    with pytest.raises(ShapeError, match="does not fit the batch"):
        F.moments(jnp.asarray(x), (0, 1, 2), mask=mask[:3])


def test_batch_norm_variance_survives_a_large_mean(rng):
    x = jnp.asarray(1e3 + 1e-2 * rng.normal(size=(4096, 1)), jnp.float32)
    _, variance = F.moments(x, (0,))
    assert abs(float(variance[0]) / np.var(np.asarray(x, np.float64)) - 1) < 1e-3


@pytest.mark.parametrize("way", ["shard_map", "pmap"])
def test_batch_norm_shares_statistics_over_devices(way, rng):
    layer = nn.BatchNorm()
    x = jnp.asarray(rng.normal(size=(16, 3)), jnp.float32)
    params, state = jaxcnn.init(layer, jax.random.key(0), x)
    whole = jaxcnn.apply(layer, params, state, x, train=True)

    def run(x, axis_name):
        return jaxcnn.apply(layer, params, state, x, train=True, axis_name=axis_name)

    spec = jax.sharding.PartitionSpec
    if way == "shard_map":
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        y, after = jax.shard_map(
            lambda x: run(x, "data"),
            mesh=mesh,
            in_specs=spec("data"),
            out_specs=(spec("data"), spec()),
        )(x)
    else:
        y, after = jax.pmap(lambda x: run(x, "data"), axis_name="data", out_axes=(0, None))(
            x.reshape(8, 2, 3)
        )
        y = y.reshape(16, 3)
    np.testing.assert_allclose(y, whole[0], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(after, whole[1], rtol=1e-5, atol=1e-6)


class TestLedger:
    def test_lenet_is_counted_by_hand(self):
        """Deck A: 61,706 parameters. MACs: 28*28*25*6 + 10*10*150*16 + 400*120 + 120*84 + 840."""
        table = jaxcnn.ledger(models.lenet5(), (28, 28, 1))
        assert (table.params, table.macs) == (61_706, 416_520)
        rows = {row.path: row for row in table.rows}
        assert [rows[p].params for p in ("conv1", "conv2", "dense1", "dense2", "logits")] == [
            156,
            2_416,
            48_120,
            10_164,
            850,
        ]
        assert [rows[p].macs for p in ("conv1", "conv2", "dense1", "dense2", "logits")] == [
            117_600,
            240_000,
            48_000,
            10_080,
            840,
        ]
        assert [rows[p].output for p in ("conv1", "pool1", "conv2", "pool2", "flatten")] == [
            (28, 28, 6),
            (14, 14, 6),
            (10, 10, 16),
            (5, 5, 16),
            (400,),
        ]

    @pytest.mark.parametrize(
        ("options", "params"),
        [
            ({}, 61_706),
            ({"variant": "1998"}, 61_706),
            ({"variant": "1998", "trainable_subsampling": True}, 61_750),
        ],
    )
    def test_lenet_variants(self, options, params):
        assert jaxcnn.ledger(models.lenet5(**options), (28, 28, 1)).params == params
        assert jaxcnn.ledger(models.lenet5(**options, padding=0), (32, 32, 1)).params == params

    def test_the_table_has_a_row_a_layer_and_totals(self):
        text = str(jaxcnn.ledger(models.lenet5(), (28, 28, 1)))
        assert len(text.splitlines()) == 1 + 1 + 1 + 12 + 1 + 1
        assert text.splitlines()[-1].split() == ["total", "61,706", "416,520"]
        assert "conv2" in text
        assert "10x10x16" in text

    def test_containers_keep_what_is_their_own(self):
        @dataclasses.dataclass(frozen=True)
        class Scaled:
            inner: nn.Dense

            def init(self, key, x):
                params, state, _ = init_child(self.inner, "inner", key, x)
                return {"inner": params, "kernel": jnp.ones((x.shape[-1], x.shape[-1]))}, state

            def apply(self, params, state, x, ctx):
                x = F.dense(x, params["kernel"])
                y, _ = jaxcnn.call(self.inner, "inner", params, state, x, ctx)
                return y, state

        table = jaxcnn.ledger(nn.chain(s=Scaled(nn.Dense(5))), (3,))
        assert [(row.path, row.params, row.macs) for row in table.rows] == [
            ("s/inner", 20, 15),
            ("s", 9, 9),
        ]

    def test_macs_agree_with_the_compilers_count_for_unpadded_networks(self):
        """XLA counts 2 FLOPs a multiply-add and one for each bias added."""
        model = nn.chain(a=nn.Conv(3, 3, bias=False), f=nn.Flatten(), b=nn.Dense(4, bias=False))
        params, state = jaxcnn.init(model, jax.random.key(0), (6, 6, 2))
        run = jax.jit(lambda p, x: jaxcnn.apply(model, p, state, x)[0])
        cost = run.lower(params, jnp.ones((1, 6, 6, 2))).compile().cost_analysis()
        assert cost["flops"] == 2 * jaxcnn.ledger(model, (6, 6, 2)).macs

    def test_loops_count_each_pass(self):
        def loop(x, w):
            return jax.lax.scan(lambda c, _: (c @ w, None), x, None, length=7)[0]

        jaxpr = jax.make_jaxpr(loop)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr
        assert jaxcnn.ledger.__module__ == "jaxcnn.ledger"
        from jaxcnn.ledger import count_macs

        assert count_macs(jaxpr) == 7 * 2 * 3 * 3

        def choose(x, w):
            return jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x)

        assert count_macs(jax.make_jaxpr(choose)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr) == 18
