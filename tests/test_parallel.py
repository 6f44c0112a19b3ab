"""One training on 1, 2 and 8 devices, by three ways, against one device."""

from __future__ import annotations

import dataclasses
import importlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import data, losses, nn, optim, train
from jaxcnn.errors import ConfigError
from jaxcnn.parallel import plan, replicate, unreplicate
from jaxcnn.typing import Batch
from tests.train_in_processes import MODEL, settings

WAYS = ("jit", "shard_map", "pmap")


def fit(dataset, parallel, devices, **changes):
    given = {**settings(dataset.take(range(45), "test")), **changes}
    return train.fit(MODEL, dataset, parallel=parallel, devices=jax.devices()[:devices], **given)


@pytest.fixture(scope="module")
def alone(small):
    return fit(small.train, "auto", 1)


@pytest.mark.parametrize("devices", [8, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_all_ways_agree_with_one_device(small, alone, way, devices):
    result = fit(small.train, way, devices)
    # Sums over the batch are added up in another order, and 20 steps carry that on.
    chex.assert_trees_all_close(result.train_state, alone.train_state, rtol=2e-4, atol=2e-5)
    for one, other in zip(result.history, alone.history, strict=True):
        assert one["count"] == other["count"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    for leaf in jax.tree.leaves(result.train_state):
        assert leaf.is_fully_replicated
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == devices
        for shard in shards[1:]:
            np.testing.assert_array_equal(shard, shards[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_named_axis_over_one_device_is_the_same(small, alone, way):
    result = fit(small.train, way, 1, epochs=1)
    wanted = fit(small.train, "jit", 1, epochs=1)
    chex.assert_trees_all_close(result.train_state, wanted.train_state, rtol=1e-5, atol=1e-6)


def compiled_step(way, devices=4):
    """The text of a compiled step, and whether it consumed its input."""
    optimizer = optim.optimizer("sgd", 0.05)
    layout = plan(way, 16, jax.devices()[:devices])
    step = train.make_train_step(
        MODEL, losses.softmax_cross_entropy, optimizer, axis_name=layout.axis_name
    )
    key = jax.random.key(0)
    ts = layout.replicate(train.init_train_state(MODEL, optimizer, key, (12, 12, 1)))
    images, labels = layout.replicate(
        (np.ones((16, 12, 12, 1), np.float32), np.zeros(16, np.int32))
    )

    def advance(ts, images, labels, key):
        number, parts = layout.part()
        share = 16 // parts
        rows = number * share + jnp.arange(share, dtype=jnp.int32)
        return step(ts, layout.divide(Batch(images[rows], labels[rows])), key)

    run = layout.compile(advance, (ts, images, labels, key), donate=(0,))
    new, _ = run(ts, images, labels, key)
    jax.block_until_ready(new)
    return run, ts


@pytest.mark.parametrize("way", ["jit", "shard_map"])
def test_nothing_is_gathered_and_gradients_are_reduced(way):
    run, _ = compiled_step(way)
    text = run.as_text()
    assert "all-gather" not in text
    assert "all-to-all" not in text
    assert re.search(r"all-reduce(?:-start)?\(", text)


@pytest.mark.parametrize("way", WAYS)
def test_old_buffers_are_donated(way):
    _, ts = compiled_step(way)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(ts.params))


def test_replicate_and_back():
    tree = replicate({"w": np.arange(3.0, dtype=np.float32)}, jax.devices()[:4])
    assert len(tree["w"].addressable_shards) == 4
    assert tree["w"].shape == (3,)  # nothing is stacked
    chex.assert_trees_all_equal(unreplicate(tree), {"w": np.arange(3.0, dtype=np.float32)})


class TestAccumulation:
    PLAIN = nn.chain(conv=nn.Conv(4, 3), act=nn.relu, flatten=nn.Flatten(), fc=nn.Dense(3))

    @pytest.mark.parametrize("parts", [2, 8])
    def test_the_update_is_that_of_the_whole_batch(self, rng, parts):
        optimizer = optim.optimizer("momentum", 0.1)
        key = jax.random.key(0)
        ts = train.init_train_state(self.PLAIN, optimizer, key, (6, 6, 1))
        batch = Batch(
            jnp.asarray(rng.normal(size=(16, 6, 6, 1)), jnp.float32),
            jnp.asarray(rng.integers(3, size=16), jnp.int32),
            jnp.arange(16) < 13,
        )

        def run(accumulate):
            step = train.make_train_step(
                self.PLAIN, losses.softmax_cross_entropy, optimizer, accumulate=accumulate
            )
            return jax.jit(step)(ts, batch, key)

        chex.assert_trees_all_close(run(parts), run(1), rtol=1e-5, atol=1e-6)

    def test_on_many_devices(self, small):
        results = [
            fit(small.train, way, devices, accumulate=2, epochs=1, augment=None).train_state.params[
                "fc"
            ]["kernel"]
            for way, devices in (("jit", 4), ("shard_map", 4))
        ]
        for kernel in results:
            assert np.isfinite(np.asarray(kernel)).all()

    def test_parts_that_do_not_divide(self, small):
        with pytest.raises(ConfigError, match="accumulate=3 does not divide the 16 rows"):
            fit(small.train, "jit", 1, accumulate=3)


def test_local_batch_norm_uses_the_rows_of_its_device(rng):
    x = jnp.asarray(rng.normal(size=(8, 3)), jnp.float32)
    layer = nn.BatchNorm(local=True)
    params, state = jaxcnn.init(layer, jax.random.key(0), (3,))

    def run(x):
        return jaxcnn.apply(layer, params, state, x, train=True, axis_name="data")

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    y, after = jax.shard_map(run, mesh=mesh, in_specs=P("data"), out_specs=(P("data"), P()))(x)
    parts = np.asarray(x, np.float64).reshape(4, 2, 3)
    mean, var = parts.mean(1, keepdims=True), parts.var(1, keepdims=True)
    np.testing.assert_allclose(
        np.asarray(y).reshape(4, 2, 3), (parts - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(after["mean"], 0.1 * mean.mean(0)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fast", 8), "parallel='fast' is not allowed: use 'auto', 'jit', 'shard_map' or 'pmap'"),
        (("auto", 30), "batch_size=30 does not divide over 8 devices: it is the global batch"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan(*arguments, jax.devices())


@dataclasses.dataclass(frozen=True)
class FakeDevice:
    """A device of a machine that the tests do not have."""

    platform: str
    device_kind: str


class TestDevices:
    """Which devices may form a mesh."""

    @pytest.fixture(autouse=True)
    def _all(self, monkeypatch):
        module = importlib.import_module("jaxcnn.parallel.plan")
        monkeypatch.setattr(module, "all_devices", jax.devices)

    def test_a_number_takes_the_first_ones(self):
        assert list(plan("jit", 8, 4).mesh.devices) == jax.devices()[:4]

    @pytest.mark.parametrize("number", [0, -1, 9])
    def test_a_mesh_larger_than_the_devices(self, number):
        message = f"devices={number} is not allowed: there are 8, all processes together"
        with pytest.raises(ConfigError, match=message):
            plan("jit", 72, number)

    def test_none_at_all(self):
        with pytest.raises(ConfigError, match="a step needs one device at least"):
            plan("jit", 8, [])

    def test_one_named_twice(self):
        with pytest.raises(ConfigError, match="the 9 devices given are only 8 different ones"):
            plan("jit", 9, [*jax.devices(), jax.devices()[0]])

    @pytest.mark.parametrize("other", [("gpu", "NVIDIA H100"), ("cpu", "of another make")])
    @pytest.mark.parametrize("way", WAYS)
    def test_devices_of_different_kinds(self, way, other):
        listed = f"different kinds: 7 x cpu cpu, 1 x {' '.join(other)}. One program"
        with pytest.raises(ConfigError, match=re.escape(listed)) as caught:
            plan(way, 8, [*jax.devices()[:7], FakeDevice(*other)])
        assert "such as devices=jax.devices('cpu')" in str(caught.value)

    @pytest.mark.parametrize(("devices", "rows"), [(3, 20), (8, 20), (8, 4)])
    def test_rows_that_do_not_divide(self, small, devices, rows):
        with pytest.raises(ConfigError, match=f"{rows} does not divide over {devices} devices"):
            fit(small.train, "auto", devices, batch_size=rows)


def test_mixing_needs_the_whole_batch(small):
    with pytest.raises(ConfigError, match="mixing examples needs the whole batch"):
        fit(small.train, "shard_map", 2, mix=data.Cutmix(3), augment=None)
