"""Going on with a run: which run `--resume auto` takes, what it refuses, what is kept."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil

import jax
import numpy as np
import pytest

import experiments.harness.job
from experiments.harness import pictures, saving
from experiments.harness.config import check
from experiments.harness.resume import AUTO, find_run, verdict
from experiments.harness.runner import main
from experiments.harness.saving import better
from experiments.harness.screen import Screen
from jaxcnn import checkpoint, lock
from jaxcnn.errors import ConfigError
from jaxcnn.run import RunFolder
from tests.chaos import tiny
from tests.chaos.processes import arrays, story

SETTINGS = [*tiny.SETTINGS, "--epochs", "3"]


@pytest.fixture(autouse=True)
def _made_up_data(monkeypatch):
    monkeypatch.setattr(experiments.harness.job.data, "load", tiny.load)
    monkeypatch.setattr(pictures, "draw", lambda *args, **kwargs: [])


def train(capsys, *given):
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix ints and floats
        status = main(tiny.EXPERIMENT, [*SETTINGS, *map(str, given)])
    shown = capsys.readouterr()
    return status, shown.out.replace("\n", " ") + shown.err


def one_device():
    return jax.devices()[:1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A complete run, to be copied."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.harness.job.data, "load", tiny.load)
        patch.setattr(pictures, "draw", lambda *args, **kwargs: [])
        patch.setattr(importlib.import_module("jaxcnn.parallel.plan"), "all_devices", one_device)
        with jax.numpy_dtype_promotion("standard"):
            assert main(tiny.EXPERIMENT, [*SETTINGS, "--out", str(out)]) == 0
    return out


@pytest.fixture
def copy(tmp_path, finished):
    """Its folder of runs, and the run, that may be changed."""
    shutil.copytree(finished, tmp_path / "runs")
    (run,) = RunFolder.list_runs(tmp_path / "runs", "tiny")
    return tmp_path / "runs", run


class TestAuto:
    def test_starts_anew_takes_over_and_says_when_all_is_done(self, copy, capsys):
        out, run = copy
        wanted = arrays(run), story(run)
        run.record.unlink()
        checkpoint.delete(run.latest_checkpoint())
        run.log({"kind": "train", "step": 99})  # after the checkpoint that is left
        status, screen = train(capsys, "--out", out, "--resume", "auto")
        assert status == 0, screen
        assert f"going on with {run.path} at step 40" in screen
        assert (arrays(run), story(run)) == wanted
        status, screen = train(capsys, "--out", out, "--resume", "auto")
        assert status == 0
        assert f"{run.path} is complete" in screen
        assert len(RunFolder.list_runs(out, "tiny")) == 1

    def test_without_a_good_checkpoint_it_starts_anew_in_the_same_folder(self, copy, capsys):
        out, run = copy
        wanted = arrays(run), story(run)
        run.record.unlink()
        for path in run.list_checkpoints():
            (path / "arrays.npz").write_bytes(b"damaged")
        status, screen = train(capsys, "--out", out, "--resume", "auto")
        assert status == 0, screen
        assert screen.count("passed over") >= 2
        assert "every checkpoint is damaged" in screen
        assert f"going on with {run.path} at step 0" in screen
        assert (arrays(run), story(run)) == wanted

    def test_the_verdict_of_a_complete_run_is_its_status(self, copy, capsys):
        out, run = copy
        record = json.loads(run.record.read_text())
        run.record.write_text(json.dumps(record | {"met": False}))
        assert train(capsys, "--out", out, "--resume", "auto")[0] == 1
        run.record.write_text("{")
        assert verdict(run) is None

    def test_only_a_run_with_the_same_settings_is_taken(self, copy):
        out, run = copy
        config = dataclasses.replace(
            experiments.harness.config.from_json(tiny.EXPERIMENT.config, run.config),
            out=out,
            resume=AUTO,
        )
        screen = Screen()
        assert find_run(tiny.EXPERIMENT, config, screen) == run
        for change in ({"seed": 1}, {"rate": 0.5}, {"epochs": 4}, {"out": out / "other"}):
            other = dataclasses.replace(config, **change)
            assert find_run(tiny.EXPERIMENT, other, screen) is None
        for change in ({"keep": 7}, {"max_minutes": 3.0}, {"save_minutes": None}):
            assert find_run(tiny.EXPERIMENT, dataclasses.replace(config, **change), screen) == run

    def test_a_damaged_config_is_named(self, copy, capsys):
        out, run = copy
        config = experiments.harness.config.from_json(tiny.EXPERIMENT.config, run.config)
        run.config.write_text("{")
        found = find_run(tiny.EXPERIMENT, dataclasses.replace(config, out=out), Screen())
        assert found is None
        assert f"being damaged or of old: {run.path.name}" in capsys.readouterr().out


def test_a_run_in_use_is_refused(copy, capsys):
    out, run = copy
    run.record.unlink()
    with lock.hold(run.lock):
        for resume in (run.path, "auto"):
            status, screen = train(capsys, "--out", out, "--resume", resume)
            assert status == 1
            assert f"{run.path}: is in use by process" in screen


def test_settings_changed_behind_the_runs_back_are_refused(copy, capsys):
    _, run = copy
    config = json.loads(run.config.read_text())
    run.config.write_text(json.dumps(config | {"rate": 0.5}))
    status = main(tiny.EXPERIMENT, ["--resume", str(run.path)])
    assert status == 1
    assert "rate differ from what its checkpoints were trained with" in capsys.readouterr().err


def test_lost_lines_of_the_log_are_counted(copy, capsys):
    out, run = copy
    run.record.unlink()
    run.metrics.write_bytes(b"")
    status, screen = train(capsys, "--out", out, "--resume", "auto")
    assert status == 0
    assert "lines are lost; the training is not affected" in screen


def forge(path, **changes):
    """Changes what a checkpoint says of itself, with a digest that fits."""
    manifest = checkpoint.read_manifest(path)
    for name, value in changes.items():
        if value is MISSING:
            del manifest["about"][name]
        else:
            manifest["about"][name] = value
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


MISSING = object()
PLATEAU = {"factor": 1.0, "best": 0.5, "bad": 0, "cooling": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"step": "60"},
        {"step": MISSING},
        {"log_lines": 1.5},
        {"log_lines": -1},
        {"config": []},
        {"best": MISSING},
        {"best": 40},
        {"best": {"step": "40", "loss": 0.1}},
        {"best": {"step": 40}},
        {"policies": None},
        {"policies": {}},
        {"policies": {"plateau": None}},
        {"policies": {"plateau": {"state": PLATEAU}}},
        {"policies": {"plateau": {"state": PLATEAU, "factor": "1"}}},
        {"policies": {"plateau": {"state": PLATEAU | {"bad": None}, "factor": 1.0}}},
        {"policies": {"plateau": {"state": PLATEAU | {"best": "low"}, "factor": 1.0}}},
        {"policies": {"plateau": {"state": PLATEAU | {"more": 1}, "factor": 1.0}}},
        {"policies": {"plateau": {"state": PLATEAU, "factor": 1.0}, "skip": {"state": {}}}},
    ],
)
def test_a_checkpoint_that_says_what_none_of_ours_would_is_passed_over(copy, capsys, changes):
    out, run = copy
    wanted = arrays(run), story(run)
    run.record.unlink()
    forge(run.latest_checkpoint(), **changes)
    status, screen = train(capsys, "--out", out, "--resume", "auto")
    assert status == 0, screen
    assert "passed over" in screen
    assert "step-00000060" in screen  # which one
    assert "at step 40" in screen
    assert (arrays(run), story(run)) == wanted


def test_a_forged_record_of_skipped_batches_is_passed_over(tmp_path, capsys):
    given = ["--out", tmp_path, "--on-nonfinite", "skip", "--epochs", "1"]
    assert train(capsys, *given)[0] == 0
    (run,) = RunFolder.list_runs(tmp_path, "tiny")
    run.record.unlink()
    policies = checkpoint.read_manifest(run.latest_checkpoint())["about"]["policies"]
    for steps in ("17", ["17"], [-1], [1, 2, 3, 4]):
        entry = {"state": {"steps": steps}, "factor": 1.0}
        forge(run.latest_checkpoint(), policies=policies | {"skip": entry})
        status, screen = train(capsys, *given, "--resume", "auto")
        assert status == 0, screen
        assert "passed over" in screen
        run.record.unlink()


def test_the_best_checkpoint_is_kept_and_known_after_resuming(copy, capsys):
    _, run = copy
    losses = {
        line["step"]: line["loss"]
        for line in run.history()
        if line["kind"] == "eval" and line["split"] == "validation"
    }
    best = min(losses, key=losses.get)
    about = checkpoint.read_manifest(run.latest_checkpoint())["about"]
    assert about["best"] == {"step": best, "loss": losses[best]}


def test_what_the_best_is():
    def at(step, loss):
        return {"step": step, "loss": loss}

    assert better(None, None, 5) is None
    assert better(None, at(5, 1.0), 5) == at(5, 1.0)
    assert better(at(5, 1.0), at(10, 0.5), 10) == at(10, 0.5)
    assert better(at(5, 1.0), at(10, 1.0), 10) == at(5, 1.0)
    assert better(at(5, 1.0), at(10, float("nan")), 10) == at(5, 1.0)
    assert better(at(5, 1.0), at(5, 1.0), 8) == at(5, 1.0)  # saved inside an epoch
    assert better(at(10, 1.0), None, 7) is None  # training has gone back behind it


def test_little_space_is_said_before_the_training(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    status, screen = train(capsys, "--out", tmp_path, "--epochs", "1")
    assert status == 0
    assert "little space" in screen


def test_checkpoints_by_time_inside_an_epoch(tmp_path, capsys, finished):
    status, screen = train(capsys, "--out", tmp_path, "--save-minutes", "1e-9", "--keep", "9")
    assert status == 0, screen
    (run,) = RunFolder.list_runs(tmp_path, "tiny")
    steps = [int(path.name[5:]) for path in run.list_checkpoints()]
    assert steps == [7, 14, 20, 27, 34, 40, 47, 54, 60]
    (reference,) = RunFolder.list_runs(finished, "tiny")
    assert story(run) == story(reference)
    assert arrays(run) == arrays(reference)
    (run.path / "record.json").unlink()
    for step in (60, 54, 47, 40):
        checkpoint.delete(run.checkpoints / f"step-{step:08d}")
    status, screen = train(capsys, "--out", tmp_path, "--resume", "auto")
    assert "at step 34" in screen
    assert story(run) == story(reference)
    assert arrays(run) == arrays(reference)


def test_numbers_that_make_no_sense():
    for name in ("save_minutes", "max_minutes"):
        for value in (0.0, -1.0, float("nan")):
            with pytest.raises(ConfigError, match="expected more than 0"):
                check(dataclasses.replace(tiny.EXPERIMENT.config(), **{name: value}))
    assert np.isfinite(tiny.EXPERIMENT.config().save_minutes)
