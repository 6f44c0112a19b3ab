"""Experiments from the command line, as a user calls them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.harness.config import from_json
from experiments.harness.runner import main
from experiments.lenet import EXPERIMENT, LeNetConfig
from tests.experiment_runs import arguments, only_run, run_main

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.xdist_group("experiments")  # one short training for all of them


@pytest.fixture(autouse=True)
def _no_user_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


def start(tmp_path, *more, devices=1) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.lenet", *more],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short training, its screen and its folder."""
    tmp_path = tmp_path_factory.mktemp("finished")
    process = start(tmp_path, *arguments(tmp_path))
    screen, _ = process.communicate(timeout=200)
    assert process.returncode == 0, screen
    return screen, only_run(tmp_path)


def test_the_screen_says_what_happened(finished):
    screen, run = finished
    assert "digits: embedded in scikit-learn" in screen
    assert re.search(r"total +61,706 +416,520", screen)
    assert re.search(r"first step [\d.]+ s after the start \(imports .*compile", screen)
    assert re.search(r"test accuracy [\d.]+ % \(\d+ of 360 images of digits/test\)", screen)
    assert "expected >= 10.00 %: met" in screen
    assert re.search(r"time: init .*compile .*train .*eval", screen)
    for name in ("curves", "confusion", "predictions", "errors", "filters", "maps"):
        assert f"{run / name}.png" in screen
    assert screen.rstrip().endswith(f"report: {run / 'report.html'}")


def test_the_run_folder_holds_everything(finished):
    _, run = finished
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "record.json",
        "metrics.jsonl",
        "checkpoints",
        "report.html",
        *(f"{n}.png" for n in ("curves", "confusion", "predictions", "errors", "filters", "maps")),
    }
    config = from_json(LeNetConfig, run / "config.json")
    assert (config.epochs, config.batch_size, config.data) == (2, 32, "digits")
    record = json.loads((run / "record.json").read_text())
    assert record["test"]["count"] == 360
    assert record["prepare"] == {"kind": "Scale"}
    assert record["met"] is True
    assert record["data"]["test"]["sha256"].startswith("8de6829b522b293b")
    assert record["environment"]["versions"]["jax"] != "not installed"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    assert sum(line["count"] for line in trained) == 2 * 1_437
    assert all(line["learning_rate"] > 0 for line in trained)
    assert lines[-1]["kind"] == "test"
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_report_holds_its_pictures_and_asks_for_nothing_else(finished):
    page = (finished[1] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "61,706" in page


def test_a_figure_that_is_not_met_is_status_1(tmp_path, capsys):
    given = arguments(tmp_path, "--expected", "1.0", "--epochs", "1")
    assert main(EXPERIMENT, given) == 1
    screen = capsys.readouterr().out
    assert "expected >= 100.00 %: NOT MET" in screen
    assert json.loads((only_run(tmp_path) / "record.json").read_text())["met"] is False


@pytest.mark.slow  # tests/chaos/test_sigterm.py is the fast one
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, number):
    long = arguments(tmp_path, "--epochs", "6")
    whole = start(tmp_path, *long)
    whole.communicate(timeout=200)
    assert whole.returncode == 0
    reference = only_run(tmp_path)

    process = start(tmp_path, *long[:-1], "6", "--out", str(tmp_path / "stopped"))
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            process.send_signal(number)
            break
    screen, _ = process.communicate(timeout=200)
    assert process.returncode == 128 + number, screen
    (run,) = (tmp_path / "stopped" / "lenet").iterdir()
    assert f"make train-lenet RESUME={run}" in screen

    again = start(tmp_path, "--resume", str(run))
    screen, _ = again.communicate(timeout=200)
    assert again.returncode == 0, screen
    arrays = [
        np.load(sorted((r / "checkpoints").iterdir())[-1] / "arrays.npz") for r in (reference, run)
    ]
    assert arrays[0].files == arrays[1].files
    for name in arrays[0].files:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    for loaded in arrays:
        loaded.close()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["count"] for line in lines if line["kind"] == "train") == 6 * 1_437


@pytest.mark.slow
def test_looking_inside_a_run(tmp_path, finished):
    run = tmp_path / "lenet" / "run"
    shutil.copytree(finished[1], run)
    command = [sys.executable, "-m", "experiments.look", run, "--images", "3", "--examples", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pictures = {path.stem.removeprefix("look-") for path in run.glob("look-*.png")}
    assert pictures == {
        "attribution", "top5", "units", "deconvolution", "adversarial", "neighbours", "translation",
    }  # fmt: skip
    page = (run / "report.html").read_text()
    before = (finished[1] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == before.count("data:image/png;base64,") + 7


@pytest.mark.slow
def test_looking_inside_what_is_no_run(tmp_path):
    command = [sys.executable, "-m", "experiments.look", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "is no run folder of an experiment" in done.stderr


@pytest.mark.slow
def test_two_devices_train_as_one(tmp_path, finished):
    process = start(tmp_path, *arguments(tmp_path, "--parallel", "shard_map"), devices=2)
    screen, _ = process.communicate(timeout=200)
    assert process.returncode == 0, screen
    assert "32 images a step, 16 on each of 2 devices (shard_map)" in screen
    losses = [
        [
            line["loss"]
            for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            if "loss" in line
        ]
        for run in (only_run(tmp_path), finished[1])
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_a_time_limit_saves_and_says_how_to_go_on(tmp_path, capsys):
    process = start(tmp_path, *arguments(tmp_path, "--max-minutes", "0.0001"))
    screen, _ = process.communicate(timeout=200)
    assert process.returncode == 124, screen
    assert f"make train-lenet RESUME={only_run(tmp_path)}" in screen
    status, err = run_main(capsys, *arguments(tmp_path, "--max-minutes", "0"))
    assert (status, "--max-minutes 0.0: expected more than 0" in err) == (2, True)


def test_ctrl_c_before_training_ends_quietly(tmp_path):
    process = start(tmp_path, *arguments(tmp_path))
    time.sleep(0.7)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)  # one may fall into a callback that swallows exceptions
        time.sleep(0.1)
    screen, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    if process.returncode == 130:  # it may have been importing still
        # Inside a callback of the garbage collector Python shows an exception and goes on.
        assert "Traceback" not in screen or "Exception ignored" in screen


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["mean-image", "channel-mean", "standardize"])
def test_fitted_statistics_are_stored_with_the_run(tmp_path, capsys, preprocess):
    from jaxcnn import data

    status, err = run_main(
        capsys, *arguments(tmp_path, "--epochs", "1", "--preprocess", preprocess)
    )
    assert status == 0, err
    record = json.loads((only_run(tmp_path) / "record.json").read_text())
    fitted = data.from_dict(record["prepare"])
    pixels = data.load("digits").train.images / 255
    mean = pixels.mean(0) if preprocess == "mean-image" else pixels.mean((0, 1, 2))
    np.testing.assert_allclose(np.asarray(fitted.mean), mean, atol=1e-6)


@pytest.mark.slow
def test_policies_are_settings(tmp_path, capsys):
    given = ["--plateau", "step-back", "--validation", "100", "--retries", "2", "--epochs", "2"]
    status, err = run_main(capsys, *arguments(tmp_path, *given))
    assert status == 0, err
    run = only_run(tmp_path)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    about = json.loads((newest / "manifest.json").read_text())["about"]
    assert set(about["policies"]) == {"plateau", "divergence"}
    status, err = run_main(capsys, "--resume", run)
    assert status == 0, err
    status, err = run_main(capsys, *arguments(tmp_path, "--plateau", "reduce"))
    assert status == 2
    assert "no examples are held out" in err


def test_a_diverging_training_names_step_and_layer_and_is_saved(tmp_path, capsys):
    status, err = run_main(
        capsys, *arguments(tmp_path, "--optimizer", "sgd", "--rate", "1e30", "--warmup", "0.1")
    )
    assert status == 1
    assert re.search(r"error: training stopped at step \d+ \(epoch 1\): the output of layer '", err)
    assert "That state is in" in err
    assert len(list((only_run(tmp_path) / "checkpoints").iterdir())) == 1


class TestResume:
    def test_other_settings_are_refused(self, finished, capsys):
        status, err = run_main(capsys, "--resume", finished[1], "--rate", "0.5", "--seed", "3")
        assert status == 2
        assert "rate, seed would change" in err

    @pytest.mark.slow  # of the same store, tests/test_resume.py and tests/chaos/ have fast ones
    def test_a_damaged_checkpoint_is_named_and_passed_over(self, finished, tmp_path, capsys):
        run = tmp_path / "copy"
        shutil.copytree(finished[1], run)
        older, newest = sorted((run / "checkpoints").iterdir())
        good = np.load(newest / "arrays.npz")
        wanted = {name: good[name] for name in good.files}
        good.close()
        (newest / "arrays.npz").write_bytes(b"damaged")
        process = start(tmp_path, "--resume", str(run))
        screen, _ = process.communicate(timeout=200)
        assert process.returncode == 0, screen
        assert f"passed over: {newest}: arrays.npz does not match its SHA-256" in screen
        with np.load(newest / "arrays.npz") as again:
            for name in again.files:  # the epoch was made again, to the same bits
                np.testing.assert_array_equal(again[name], wanted[name])
        for folder in (older, newest):
            (folder / "arrays.npz").write_bytes(b"damaged")
        status, err = run_main(capsys, "--resume", run)
        assert status == 1
        assert f"{run}: every checkpoint is damaged, the newest is {newest}" in err


@pytest.mark.slow  # .ci/run trains much the same
def test_lenet_learns_mnist(data_dir, tmp_path):
    """One epoch on real digits reaches 98 %: thirty times fewer errors than guessing."""
    process = subprocess.run(
        [sys.executable, "-m", "experiments.lenet", "--data", "mnist", "--data-dir", data_dir]
        + ["--epochs", "1", "--warmup", "0.1", "--expected", "0.98", "--out", tmp_path / "runs"],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert process.returncode == 0, process.stdout + process.stderr
