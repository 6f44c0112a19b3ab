"""What goes wrong when a step is carried from one way to another, and that ours does not.

Every trap is shown in plain JAX first: the gradient of mean(w x) with respect to the number w,
which is mean(x), over 4 devices with two numbers each.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.cases import MASKED, RATE
from benchmarks.replicas import after_steps, compile_step, difference
from jaxcnn import nn
from jaxcnn.parallel import plan

WAYS = ("jit", "shard_map", "pmap")
X = np.arange(8.0, dtype=np.float32)
RIGHT = X.mean()
LOCAL = X[:2].mean()  # what the first device alone finds


def mesh():
    return jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))


def by_shard_map(body, **settings):
    run = jax.shard_map(body, mesh=mesh(), in_specs=(P(), P("data")), out_specs=P(), **settings)
    return float(jax.jit(run)(jnp.ones(()), X))


def by_pmap(body):
    run = jax.pmap(
        body, axis_name="data", in_axes=(None, 0), out_axes=None, devices=jax.devices()[:4]
    )
    return float(run(jnp.ones(()), X.reshape(4, 2)))


def loss(w, x):
    return jnp.mean(w * x)


def varying(w):
    return jax.lax.pcast(w, "data", to="varying")


# --- the loss or gradient is averaged in the wrong place


def local_then_mean(w, x):
    """The form that every program for pmap has."""
    return jax.lax.pmean(jax.grad(loss)(w, x), "data")


def mean_inside(w, x):
    """The mean of the loss is taken inside the differentiated function."""
    return jax.grad(lambda w: jax.lax.pmean(loss(w, x), "data"))(w)


def forgotten(w, x):
    """Nobody takes a mean."""
    return jax.grad(loss)(w, x)


def cast_then_mean(w, x):
    """The form of `make_train_step`: right in both."""
    return jax.lax.pmean(jax.grad(loss)(varying(w), x), "data")


def test_a_pmap_step_in_shard_map_has_gradients_n_times_too_large():
    assert by_pmap(local_then_mean) == pytest.approx(RIGHT)
    assert by_shard_map(local_then_mean) == pytest.approx(4 * RIGHT)


def test_a_mean_inside_the_differentiated_function_is_silently_wrong_under_pmap():
    assert by_shard_map(mean_inside) == pytest.approx(RIGHT)
    assert by_pmap(mean_inside) == pytest.approx(LOCAL)


def test_a_forgotten_mean_is_invisible_under_pmap():
    assert by_pmap(forgotten) == pytest.approx(LOCAL)
    with pytest.raises(ValueError, match="out_specs"):
        by_shard_map(lambda w, x: forgotten(varying(w), x))
    unchecked = by_shard_map(lambda w, x: forgotten(varying(w), x), check_vma=False)
    assert unchecked == pytest.approx(LOCAL)


def test_the_cast_is_right_in_both():
    assert by_pmap(cast_then_mean) == pytest.approx(RIGHT)
    assert by_shard_map(cast_then_mean) == pytest.approx(RIGHT)


DENSE = nn.chain(fc=nn.Dense(10))


def dense_gradient(params, x, labels):
    """Of the mean cross-entropy of the rows that count, by hand in float64."""
    kernel, bias = (np.asarray(params["fc"][name], np.float64) for name in ("kernel", "bias"))
    x = np.asarray(x, np.float64)
    logits = x @ kernel + bias
    error = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error[np.arange(len(x)), np.asarray(labels)] -= 1
    error[-MASKED:] = 0
    error /= len(x) - MASKED
    return {"fc": {"kernel": x.T @ error, "bias": error.sum(0)}}


@pytest.mark.parametrize("devices", [1, 4, 8])
@pytest.mark.parametrize("way", WAYS)
def test_ours_is_the_gradient_of_the_whole_batch(way, devices):
    step = compile_step(DENSE, (5,), 16, way, devices, abstract=False)
    ts, images, labels, key = step.arguments
    before = jax.tree.map(np.asarray, ts.params)
    after, _ = step.run(ts, images, labels, key)
    found = jax.tree.map(lambda a, b: (a - np.asarray(b)) / RATE, before, after.params)
    expected = dense_gradient(before, images, labels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), found, expected
    )


@pytest.mark.parametrize("way", WAYS)
def test_replicas_stay_equal_shard_by_shard(way):
    step = compile_step(NORM, (6, 6, 3), 16, way, 8, abstract=False)
    ts, *rest = step.arguments
    for _ in range(5):
        ts, _ = step.run(ts, *rest)
    for leaf in jax.tree.leaves(ts):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 8
        assert all(np.array_equal(shard, shards[0]) for shard in shards)


# --- donation


def test_donating_what_device_put_returned_deletes_its_source():
    source = jnp.ones(4)
    replica = jax.device_put(source, NamedSharding(mesh(), P()))
    jax.block_until_ready(jax.jit(jnp.sin, donate_argnums=0)(replica))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(source)


@pytest.mark.parametrize("devices", [1, 4])
def test_donating_our_replica_leaves_its_source(devices):
    source = {"w": jnp.ones(4)}
    copies = plan("jit", 8, jax.devices()[:devices]).replicate(source)
    jax.block_until_ready(jax.jit(lambda t: jax.tree.map(jnp.sin, t), donate_argnums=0)(copies))
    np.testing.assert_array_equal(source["w"], 1.0)


@pytest.mark.parametrize("way", WAYS)
def test_old_buffers_are_donated(way):
    step = compile_step(NORM, (6, 6, 3), 16, way, 4, abstract=False)
    ts, *rest = step.arguments
    aliased = step.run.memory_analysis().alias_size_in_bytes
    assert aliased >= sum(leaf.nbytes for leaf in jax.tree.leaves(ts))
    jax.block_until_ready(step.run(ts, *rest))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(ts))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(rest))


# --- batch norm


def network(*, local):
    return nn.chain(
        conv=nn.Conv(4, 3, bias=False),  # before batch norm its gradient would be rounding alone
        norm=nn.BatchNorm(local=local),
        act=nn.relu,
        flatten=nn.Flatten(),
        fc=nn.Dense(10),
    )


NORM = network(local=False)


def from_one_device(model, way):
    """How far parameters are from those of one device after the same steps on four.

    In float64, so that only what is really different shows.
    """
    # The step counts rows in float32, which strict promotion keeps apart from float64.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        one, four = (
            after_steps(
                compile_step(
                    model, (6, 6, 3), 16, a_way, devices, abstract=False, dtype=jnp.float64
                )
            )
            for a_way, devices in (("jit", 1), (way, 4))
        )
    return difference(four, one)


@pytest.mark.parametrize("way", WAYS)
def test_synchronised_batch_norm_does_not_depend_on_the_number_of_devices(way):
    assert from_one_device(NORM, way) < 1e-12


@pytest.mark.parametrize("way", ["shard_map", "pmap"])
def test_local_batch_norm_does(way):
    assert from_one_device(network(local=True), way) > 1e-3


def test_jit_has_no_local_batch_norm():
    """It sees the whole batch: the setting has no effect, as its description says."""
    assert from_one_device(network(local=True), "jit") < 1e-12
