"""Damaged checkpoints: each is found out, or was proven harmless; the newest good one is taken."""

from __future__ import annotations

import collections
import shutil

import numpy as np
import pytest

from jaxcnn import checkpoint
from jaxcnn.errors import CheckpointError
from jaxcnn.run import RunFolder
from tests.chaos.draws import draws, generator

STEPS = (5, 10, 15)
FILES = ("arrays.npz", "manifest.json")


def tree(step):
    rng = np.random.default_rng(step)
    return {
        "w": rng.normal(size=(16, 16)).astype(np.float32),
        "zeros": np.zeros(20, np.float32),
        "step": np.int32(step),
    }


def same(one, two):
    return all(np.asarray(one[k]).tobytes() == np.asarray(two[k]).tobytes() for k in two)


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path, "test", 0)
    for step in STEPS:
        run.save_checkpoint(step, tree(step), {"rate": 0.1 * step}, keep=len(STEPS))
    return run


def judge(run, file, counts):
    """Reads the damaged newest checkpoint, then the run: neither may be wrong in silence."""
    newest = run.latest_checkpoint()
    try:
        back = checkpoint.restore(newest, tree(0))
        about = checkpoint.read_manifest(newest)["about"]
    except CheckpointError as error:
        errors = str(error)
        counts["found out"] += 1
    else:
        errors = None
        assert same(back, tree(15))
        assert about == {"rate": 1.5, "step": 15, "log_lines": 0}
        counts["harmless"] += 1
    assert errors is None or str(newest) in errors
    said = []
    back, about = run.restore_newest(lambda about: tree(0), said.append)
    assert same(back, tree(about["step"]))
    assert bool(said) == bool(errors)
    if said:
        assert about["step"] == 10
        assert file in said[0]
        assert str(newest) in said[0]
        counts["passed over"] += 1


def test_flipped_bits(run):
    rng = generator()
    counts = collections.Counter()
    count = draws(60, 1000)
    for case in range(count):
        path = run.latest_checkpoint() / FILES[case % 2]
        good = path.read_bytes()
        bad = bytearray(good)
        bit = int(rng.integers(8 * len(good)))
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        judge(run, path.name, counts)
        path.write_bytes(good)
    report(count, "flipped bits", counts)
    assert counts["found out"] > 0.7 * count


def test_truncations(run):
    rng = generator()
    counts = collections.Counter()
    count = draws(20, 200)
    for case in range(count):
        path = run.latest_checkpoint() / FILES[case % 2]
        good = path.read_bytes()
        path.write_bytes(good[: int(rng.integers(len(good)))])
        judge(run, path.name, counts)
        path.write_bytes(good)
    report(count, "truncations", counts)


def test_missing_and_swapped_files(run, tmp_path):
    """A file away, one of another step, both changed for each other, a folder in a file's place."""
    rng = generator()
    counts = collections.Counter()
    count = draws(10, 50)
    whole = tmp_path / "whole"
    shutil.copytree(run.checkpoints, whole)
    for case in range(count):
        file = FILES[int(rng.integers(2))]
        newest, older = run.latest_checkpoint(), run.list_checkpoints()[int(rng.integers(2))]
        if case % 5 == 0:
            (newest / file).unlink()
        elif case % 5 == 1:
            shutil.copy(older / file, newest / file)
        elif case % 5 == 2:
            (newest / FILES[0]).rename(newest / "x")
            (newest / FILES[1]).rename(newest / FILES[0])
            (newest / "x").rename(newest / FILES[1])
            file = FILES[1]
        elif case % 5 == 3:
            (newest / file).unlink()
            (newest / file).mkdir()
        else:  # one step's files, whole, under the name of another: harmless where it is read alone
            shutil.rmtree(newest)
            shutil.copytree(older, newest)
            said = []
            back, about = run.restore_newest(lambda about: tree(0), said.append)
            assert same(back, tree(about["step"]))
            assert "its files belong elsewhere" in said[0]
            counts["found out"] += 1
            file = None
        if file:
            judge(run, file, counts)
        shutil.rmtree(run.checkpoints)
        shutil.copytree(whole, run.checkpoints)
    report(count, "missing or swapped files", counts)


def report(count, what, counts):
    harmless = f", {counts['harmless']} harmless" if counts["harmless"] else ""
    print(f"{count}/{count} {what}: {counts['found out']} found out{harmless}, 0 silent")
    assert counts["found out"] + counts["harmless"] == count
