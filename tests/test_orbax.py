"""Sharded checkpoints: they come back on other devices, and no damage goes unnoticed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import nn, optim, train
from jaxcnn.checkpoint import manifest_digest
from jaxcnn.errors import CheckpointError, DamagedCheckpointError
from tests.processes import finish, meeting, member, start

orbax = pytest.importorskip("jaxcnn.interop.orbax")


def mesh(devices):
    return jax.make_mesh(
        (devices,),
        ("x",),
        devices=jax.devices()[:devices],
        axis_types=(jax.sharding.AxisType.Auto,),
    )


def state():
    model = nn.chain(conv=nn.Conv(8, 3), norm=nn.BatchNorm(), flat=nn.Flatten(), fc=nn.Dense(8))
    optimizer = optim.optimizer("adam", 0.1)
    return train.init_train_state(model, optimizer, jax.random.key(0), (5, 5, 1))


def placed(tree, devices):
    """Arrays whose last axis is divided where that is possible."""

    def place(x):
        divides = x.ndim and x.shape[-1] % devices == 0
        spec = P(*[None] * (x.ndim - 1), "x") if divides else P()
        return jax.device_put(x, NamedSharding(mesh(devices), spec))

    return jax.tree.map(place, tree)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "step-1"
    orbax.save(path, placed(state(), 8), {"step": 1})
    return path


def test_a_state_comes_back_on_other_devices(saved):
    for devices in (8, 2, 1):
        like = placed(jax.tree.map(jnp.zeros_like, state()), devices)
        found = orbax.restore(saved, like)
        for one, other, wanted in zip(
            jax.tree.leaves(found), jax.tree.leaves(state()), jax.tree.leaves(like), strict=True
        ):
            np.testing.assert_array_equal(one, other)
            assert one.sharding == wanted.sharding
    assert isinstance(found, train.TrainState)
    assert orbax.verify(saved)["about"] == {"step": 1}


def test_it_is_replaced_all_at_once(saved):
    orbax.save(saved, {"a": jnp.ones(3)}, {"step": 2})
    assert orbax.verify(saved)["about"] == {"step": 2}
    assert [file.name for file in saved.parent.iterdir()] == ["step-1"]
    np.testing.assert_array_equal(orbax.restore(saved, {"a": jnp.zeros(3)})["a"], 1)


def test_damage_to_any_file_is_named(saved):
    files = sorted(file for file in saved.rglob("*") if file.is_file())
    assert len(files) > 3
    for file in files:
        whole = file.read_bytes()
        for damaged in (
            whole[: len(whole) // 2],
            bytes([whole[0] ^ 1]) + whole[1:] if whole else b"x",
        ):
            file.write_bytes(damaged)
            with pytest.raises(DamagedCheckpointError, match=file.name):
                orbax.restore(saved, state())
        file.unlink()
        with pytest.raises(DamagedCheckpointError, match=file.name):
            orbax.restore(saved, state())
        file.write_bytes(whole)
    (saved / "arrays" / "one_too_many").write_text("")
    with pytest.raises(DamagedCheckpointError, match=r"one_too_many: is not of this checkpoint"):
        orbax.restore(saved, state())


def test_another_model_is_refused_and_the_leaf_named(saved):
    other = state()._replace(params={"fc": {"bias": jnp.zeros(8)}})
    with pytest.raises(CheckpointError, match=r"params/conv/bias is float32\[8\], expected none"):
        orbax.restore(saved, other)


def test_another_format_is_refused(saved):
    manifest = orbax.verify(saved) | {"format": "orbax-9"}
    manifest["sha256"] = manifest_digest(manifest)
    (saved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="format 'orbax-9' is not 'orbax-1'"):
        orbax.verify(saved)


def test_what_is_not_finite_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match="not saved: a is not finite"):
        orbax.save(tmp_path / "x", {"a": jnp.asarray([1.0, jnp.nan])}, {})
    assert not list(tmp_path.iterdir())


IN_EACH_PROCESS = """
import sys
from pathlib import Path
from jaxcnn.parallel import init_distributed
init_distributed(timeout=60, heartbeat=10)
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxcnn.interop import orbax
mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
whole = np.arange(16, dtype=np.float32).reshape(4, 4)
def divided(spec, values):
    return jax.make_array_from_callback((4, 4), NamedSharding(mesh, spec), lambda i: values[i])
orbax.save(Path(sys.argv[1]), {"a": divided(P("x"), whole)}, {"step": 3})
found = orbax.restore(Path(sys.argv[1]), {"a": divided(P(None, "x"), 0 * whole)})["a"]
for shard in found.addressable_shards:
    np.testing.assert_array_equal(shard.data, whole[shard.index])
print("fine")
"""


@pytest.mark.slow
def test_two_processes_save_what_neither_has_whole(tmp_path):
    address = meeting()
    workers = [
        start(["-c", IN_EACH_PROCESS, str(tmp_path / "step-3")], member(address, process))
        for process in range(2)
    ]
    for status, out, err in finish(workers):
        assert (status, out.splitlines()[-1]) == (0, "fine"), err
    assert orbax.verify(tmp_path / "step-3")["about"] == {"step": 3}
