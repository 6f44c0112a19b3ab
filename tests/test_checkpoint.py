"""Checkpoints: what is saved comes back bit for bit, or an error names what is wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import checkpoint, disk, models, optim, storage
from jaxcnn.errors import CheckpointError, DamagedCheckpointError, DataError, OutputError
from jaxcnn.run import RunFolder
from jaxcnn.train import init_train_state


class Pair(NamedTuple):
    a: jax.Array
    b: dict


def tree():
    return Pair(
        jnp.arange(5, dtype=jnp.int32),
        {
            "file": jnp.asarray([[1.5, -0.0], [3e-39, 2.0]], jnp.float32),
            "half": jnp.asarray([1.0, 3.14159], jnp.bfloat16),
            "one": jnp.float32(7),
            "flag": jnp.asarray([True, False]),
        },
    )


@pytest.fixture
def saved(tmp_path) -> Path:
    checkpoint.save(tmp_path / "c", tree(), {"model": "pair"})
    return tmp_path / "c"


def test_comes_back_bit_for_bit(saved):
    back = checkpoint.restore(saved, jax.eval_shape(tree))
    assert isinstance(back, Pair)
    assert jax.tree.map(lambda x: x.dtype, back) == jax.tree.map(lambda x: x.dtype, tree())
    for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(tree()), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()
    assert checkpoint.read_manifest(saved)["about"] == {"model": "pair"}


def test_a_whole_train_state_comes_back(tmp_path, key):
    for name in ("sgd", "nesterov", "rmsprop", "adamw"):
        optimizer = optim.optimizer(name, 0.1, weight_decay=1e-3, clip_norm=1.0)
        ts = init_train_state(models.lenet5(), optimizer, key, (28, 28, 1))
        checkpoint.save(tmp_path / name, ts, {})
        chex.assert_trees_all_equal(checkpoint.restore(tmp_path / name, ts), ts)


def test_replaces_an_older_one_and_leaves_no_temporary(saved):
    newer = tree()._replace(a=jnp.arange(5, 10, dtype=jnp.int32))
    checkpoint.save(saved, newer, {})
    chex.assert_trees_all_equal(checkpoint.restore(saved, newer), newer)
    assert [p.name for p in saved.parent.iterdir()] == ["c"]


def test_a_state_that_is_not_finite_is_never_saved(saved):
    bad = tree()
    bad.b["half"] = bad.b["half"].at[0].set(jnp.nan)
    with pytest.raises(CheckpointError, match="not saved: b/half is not finite"):
        checkpoint.save(saved, bad, {})
    chex.assert_trees_all_equal(checkpoint.restore(saved, tree()), tree())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t._replace(a=jnp.zeros(6, jnp.int32)), r"a is int32\[5\], expected int32\[6\]"),
        (lambda t: t._replace(a=jnp.zeros(5)), r"a is int32\[5\], expected float32\[5\]"),
        (lambda t: t._replace(b={**t.b, "more": t.a}), "another model.*missing b/more"),
        (lambda t: t._replace(b={"one": t.b["one"]}), "not expected b/file, b/flag, b/half"),
    ],
)
def test_another_models_checkpoint_is_refused(saved, change, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.restore(saved, change(tree()))


def test_every_flipped_bit_is_noticed(saved):
    """But for white space in the manifest, which carries nothing."""
    rng = np.random.default_rng(0)
    noticed = 0
    for file in saved.iterdir():
        good = file.read_bytes()
        for bit in rng.choice(8 * len(good), size=150, replace=False):
            damaged = bytearray(good)
            damaged[bit // 8] ^= 1 << (bit % 8)
            file.write_bytes(damaged)
            try:
                back = checkpoint.restore(saved, tree())
            except CheckpointError:
                noticed += 1
            else:
                assert file.name == "manifest.json"
                chex.assert_trees_all_equal(back, tree())
        file.write_bytes(good)
    assert noticed > 250


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_every_truncation_is_noticed(saved, name):
    good = (saved / name).read_bytes()
    for length in range(0, len(good), 40):
        (saved / name).write_bytes(good[:length])
        with pytest.raises(CheckpointError):
            checkpoint.restore(saved, tree())
    (saved / name).unlink()
    with pytest.raises(CheckpointError):
        checkpoint.restore(saved, tree())


def test_unknown_formats_and_odd_manifests_are_refused(saved):
    file = saved / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["sha256"]
    manifest["format"] = 2
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="format 2 is not known"):
        checkpoint.restore(saved, tree())
    for text in ("[]", "3", '"x"', "{}", "null"):
        file.write_text(text)
        with pytest.raises(CheckpointError, match="no usable checkpoint"):
            checkpoint.restore(saved, tree())


def reseal(saved: Path, **changes) -> None:
    """Changes fields of the manifest and makes its digests right, as an attacker can."""
    file = saved / "manifest.json"
    manifest = json.loads(file.read_text()) | changes
    del manifest["sha256"]
    content = (saved / "arrays.npz").read_bytes()
    manifest.setdefault("arrays_sha256", hashlib.sha256(content).hexdigest())
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "changes",
    [
        {"leaves": []},
        {"leaves": {"a": 1}},
        {"leaves": {"a": {"dtype": "int32", "shape": ["5"]}}},
        {"leaves": {"a": {"dtype": 5, "shape": [5]}}},
        {"about": None},
        {"arrays_sha256": 3},
    ],
    ids=str,
)
def test_sealed_manifests_of_other_kinds_are_refused(saved, changes):
    reseal(saved, **changes)
    with pytest.raises(DamagedCheckpointError, match="its fields are not those of a checkpoint"):
        checkpoint.restore(saved, tree())


def test_archives_that_do_not_hold_what_their_manifest_says(saved):
    with np.load(saved / "arrays.npz", allow_pickle=False) as arrays:
        good = {name: arrays[name] for name in arrays.files}
    for bad, message in (
        ({**good, "tree/a": good["tree/a"].astype(np.int64)}, "holds no a as its manifest says"),
        ({**good, "tree/a": good["tree/a"][:4]}, "holds no a as its manifest says"),
        ({f"{name}x": array for name, array in good.items()}, "holds no .* as its manifest says"),
        ({**good, "more": np.zeros(1)}, "6 members, expected at most 5"),
        ({**good, "tree/a": np.zeros(10_000)}, "arrays.npz: .* too large"),
    ):
        np.savez(saved / "arrays.npz", **bad)
        digest = hashlib.sha256((saved / "arrays.npz").read_bytes()).hexdigest()
        reseal(saved, arrays_sha256=digest)
        with pytest.raises(DamagedCheckpointError, match=message):
            checkpoint.restore(saved, tree())


def test_a_pickle_in_the_arrays_is_not_opened(saved):
    np.savez(saved / "arrays.npz", **{"tree/a": np.array([object()])})
    file = saved / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["sha256"]
    content = (saved / "arrays.npz").read_bytes()
    manifest["arrays_sha256"] = hashlib.sha256(content).hexdigest()  # an attacker can do that
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="objects are never opened"):
        checkpoint.restore(saved, tree())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/c"):
        checkpoint.save(tmp_path / "file" / "c", tree(), {})
    with pytest.raises(OutputError, match="Choose a folder"):
        storage.write_json(tmp_path / "file" / "x.json", {})
    with pytest.raises(OutputError, match="cannot write"):
        storage.append_line(tmp_path / "no" / "x.log", "")


@pytest.mark.parametrize("step", [None, "1", True, 1.0])
def test_a_checkpoint_with_an_odd_step_is_damaged(tmp_path, step):
    run = RunFolder(tmp_path)
    run.metrics.touch()
    path = run.save_checkpoint(1, tree(), {}, 2)
    manifest = checkpoint.read_manifest(path)
    manifest["about"]["step"] = step
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedCheckpointError, match="every checkpoint is damaged"):
        run.restore_newest(lambda about: tree())


def test_a_file_that_may_not_be_read_is_not_damage(saved, monkeypatch):
    def forbid(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", forbid)
    with pytest.raises(CheckpointError, match=r"may not be read: Permission denied") as caught:
        checkpoint.restore(saved, tree())
    assert not isinstance(caught.value, DamagedCheckpointError)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
def test_what_could_be_read_later_is_not_damage(saved, name, monkeypatch):
    """What is damaged is passed over and then deleted; too many open files is no reason for it."""
    really = os.open

    def fail(path, flags):
        if Path(path).name == name:
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return really(path, flags)

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(CheckpointError, match=r"Too many open files") as caught:
        checkpoint.restore(saved, tree())
    assert not isinstance(caught.value, DamagedCheckpointError)
    assert "This is not damage: nothing was changed." in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
def test_a_link_in_a_checkpoint_is_refused_and_not_passed_over(saved, name, tmp_path):
    (saved / name).rename(tmp_path / "elsewhere")
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="Put a copy of the file in its place") as caught:
        checkpoint.restore(saved, tree())
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_a_file_over_which_arrays_cannot_be_read_is_not_damage(saved, monkeypatch):
    really = os.open

    def forbid(path, flags):
        if Path(path).name == "arrays.npz":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, flags)

    monkeypatch.setattr("os.open", forbid)
    with pytest.raises(CheckpointError, match=r"may not be read") as caught:
        checkpoint.restore(saved, tree())
    assert not isinstance(caught.value, DamagedCheckpointError)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    storage.write_json(file, {"version": 1})

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "sync", fail)
    with pytest.raises(OutputError, match="No space left"):
        storage.write_json(file, {"version": 2})
    with pytest.raises(OutputError, match="No space left"):
        checkpoint.save(tmp_path / "c", tree(), {})
    assert json.loads(file.read_text()) == {"version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


class TestRunFolder:
    def test_keeps_the_newest_checkpoints(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=3)
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            run.latest_checkpoint()
        for step in (5, 10, 15):
            run.save_checkpoint(step, tree(), {}, keep=2)
        assert [p.name for p in run.list_checkpoints()] == ["step-00000010", "step-00000015"]
        assert run.latest_checkpoint().name == "step-00000015"
        about = checkpoint.read_manifest(run.latest_checkpoint())["about"]
        assert about == {"step": 15, "log_lines": 0}
        run.save_checkpoint(12, tree(), {}, keep=2)  # training went back from 15
        assert [p.name for p in run.list_checkpoints()] == ["step-00000010", "step-00000012"]

    def test_two_runs_in_one_second_do_not_meet(self, tmp_path):
        paths = {RunFolder.create(tmp_path, "test", seed=0).path for _ in range(3)}
        assert len(paths) == 3
        assert all(path.name.endswith(("-0", "-0-2", "-0-3")) for path in paths)

    def test_the_log_holds_plain_numbers_and_can_be_rewound(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        for step in (1, 2, 3):
            run.log({"step": step, "loss": float("nan") if step == 2 else 1.0})
        assert [line["loss"] for line in run.history()] == [1.0, None, 1.0]
        assert run.rewind(0, 2) == 0
        assert [line["step"] for line in run.history()] == [1, 2]
        run.metrics.write_text('{"step": 1}\n[2]\n')
        with pytest.raises(DataError, match=r"metrics.jsonl:2: not usable JSON: expected an obj"):
            run.history()

    def test_the_record_is_read_back(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        with pytest.raises(DataError, match=r"record.json: cannot be read: No such file"):
            run.read_record()
        storage.write_json(run.record, {"accuracy": 0.99})
        assert run.read_record() == {"accuracy": 0.99}
        run.record.write_text('{"accuracy": 0.99, "accuracy": 1.0}')
        with pytest.raises(DataError, match="'accuracy' stands twice"):
            run.read_record()

    def test_rewinding_drops_half_a_line_and_counts_what_is_lost(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        run.log({"step": 1})
        storage.append_line(run.metrics, '{"step": 2}')
        run.metrics.write_bytes(run.metrics.read_bytes()[:-4])  # killed while it wrote
        assert [line["step"] for line in run.history()] == [1]
        assert run.rewind(0, 2) == 1
        run.log({"step": 2})
        assert [line["step"] for line in run.history()] == [1, 2]
        run.metrics.unlink()
        assert run.rewind(0, 2) == 2
        assert run.history() == []

    def test_rewinding_deletes_what_comes_later(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        for step in (5, 10, 15):
            run.save_checkpoint(step, tree(), {}, keep=3)
        run.rewind(10, 0)
        assert [p.name for p in run.list_checkpoints()] == ["step-00000005", "step-00000010"]

    def test_keeps_the_best_however_old(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        for step in (5, 10, 15, 20):
            run.save_checkpoint(step, tree(), {}, keep=1, best=5 if step < 20 else 20)
            kept = [int(p.name[5:]) for p in run.list_checkpoints()]
            assert kept == ([5] if step == 5 else [5, step] if step < 20 else [20])

    def test_the_newest_good_one_is_taken_and_the_bad_file_named(self, tmp_path):
        run = RunFolder.create(tmp_path, "test", seed=0)
        for step in (5, 10, 15, 20):
            run.save_checkpoint(step, tree(), {"mine": step}, keep=4)
        five, ten, fifteen, twenty = run.list_checkpoints()
        (fifteen / "manifest.json").unlink()
        shutil.copy(ten / "arrays.npz", twenty / "arrays.npz")
        (twenty / "arrays.npz").write_bytes(b"x" + (ten / "arrays.npz").read_bytes()[1:])
        said = []
        _, about = run.restore_newest(lambda about: tree(), said.append)
        assert about["mine"] == 10
        assert f"{twenty}: arrays.npz does not match" in said[0]
        assert "manifest.json" in said[1]
        shutil.rmtree(ten)
        shutil.copytree(five, ten)  # a whole checkpoint in another's place
        assert run.restore_newest(lambda about: tree(), said.append)[1]["mine"] == 5
        assert f"{ten}: manifest.json is of step 5: its files belong elsewhere" in said[-1]
        shutil.rmtree(five)
        with pytest.raises(CheckpointError, match=r"every checkpoint is damaged, the newest is"):
            run.restore_newest(lambda about: tree(), said.append)

    def test_runs_are_listed_in_order(self, tmp_path):
        names = ["20261121-121441-7", "20261121-121441-7-2", "20261121-121441-7-10"]
        later = ["20261121-121442-0"]
        for name in (*later, *names, "notes", ".20261121-121441-7.0123abcd.new"):
            (tmp_path / "test" / name).mkdir(parents=True)
        listed = [run.path.name for run in RunFolder.list_runs(tmp_path, "test")]
        assert listed == [*names, *later]
        assert RunFolder.list_runs(tmp_path, "nothing") == []
