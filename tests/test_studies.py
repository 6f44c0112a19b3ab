"""Studies: what they find on the embedded digits, and that a stopped one goes on."""

import importlib
import json
import math

import numpy as np
import pytest

from experiments import batch_size, fine_tune, ravine
from experiments.harness import study
from experiments.harness.choose import best_rate, deviation, mean, percent
from experiments.harness.lab import Lab, Recipe, StoppedError, last
from experiments.harness.screen import Screen
from jaxcnn import nn
from jaxcnn.data import load
from jaxcnn.errors import DataError
from jaxcnn.train import StopRequest

SMALL = {
    "optimizers": ["--train-images", "200", "--validation", "40", "--test-images", "60",
                   "--epochs", "1", "--hidden", "8"],
    "activations": ["--images", "200", "--epochs", "2", "--error", "0.9", "--rates", "0.05"],
    "dropout": ["--images", "200", "--epochs", "2", "--error", "0.9"],
    "batch_size": ["--images", "200", "--sizes", "50", "100", "--reference", "50", "--epochs", "1"],
    "network_size": ["--images", "200", "--depths", "0", "1", "--widths", "2", "--depth", "1",
                     "--width", "4", "--epochs", "1"],
    "batch_norm": ["--images", "200", "--validation", "40", "--rates", "0.01", "--epochs", "1"],
    "fine_tune": ["--examples", "1", "2", "--steps", "3", "--pretrain-epochs", "1"],
}  # fmt: skip
"""Flags that make a study small."""


def run(name, out, *more):
    module = importlib.import_module(f"experiments.{name}")
    given = [*SMALL[name], "--data", "digits", "--seeds", "1", "--out", str(out), *more]
    status = study.main(module.STUDY, given)
    (folder,) = (out / name).iterdir()
    return status, folder


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in SMALL])
def test_a_study_ends_with_record_report_and_pictures(name, tmp_path, capsys):
    status, folder = run(name, tmp_path)
    record = json.loads((folder / "record.json").read_text())
    assert status == (1 if record["met"] is False else 0)
    assert record["rows"]
    assert {len(row) for row in record["rows"]} == {len(record["rows"][0])}
    assert record["answer"] in capsys.readouterr().out
    assert "data:image/png;base64" in (folder / "report.html").read_text()
    assert list(folder.glob("*.png"))


def test_the_same_command_takes_what_it_has_trained(tmp_path, capsys):
    _, folder = run("batch_size", tmp_path)
    first = (folder / "trainings.jsonl").read_text()
    assert len(first.splitlines()) == 3  # the reference size has the same rate under both rules
    record = json.loads((folder / "record.json").read_text())
    capsys.readouterr()
    _, again = run("batch_size", tmp_path)
    assert again == folder
    assert (folder / "trainings.jsonl").read_text() == first
    assert "trainings made before are taken from" in capsys.readouterr().out
    second = json.loads((folder / "record.json").read_text())
    assert second["rows"] == record["rows"]


@pytest.mark.slow
def test_where_no_rate_reaches_the_error_the_nearest_is_taken(tmp_path):
    given = ["--error", "0", "--rates", "1e-9", "0.05", "--epochs", "6", "--batch-size", "20"]
    _, folder = run("activations", tmp_path, *given)
    rows = json.loads((folder / "record.json").read_text())["rows"]
    assert rows[0] == {"activation": "relu", "rate": "0.05", "epochs to the error": "> 6"}


def test_settings_that_make_no_sense_are_status_2(tmp_path, capsys):
    given = ["--seeds", "0", "--out", str(tmp_path)]
    assert study.main(batch_size.STUDY, given) == 2
    assert "--seeds 0: expected more than 0" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert study.main(ravine.STUDY, ["--out", str(tmp_path / "file")]) == 1
    assert f"cannot write {tmp_path / 'file'}" in capsys.readouterr().err


def test_a_time_limit_ends_it_and_says_so(tmp_path, capsys):
    given = [*SMALL["batch_size"], "--data", "digits", "--out", str(tmp_path)]
    assert study.main(batch_size.STUDY, [*given, "--max-minutes", "1e-9"]) == 124
    assert "the same command goes on" in capsys.readouterr().out


class TestLab:
    @pytest.fixture
    def lab(self, tmp_path):
        return Lab(tmp_path / "memory.jsonl", None, Screen(quiet=True), StopRequest())

    def test_a_figure_is_made_once(self, lab, tmp_path):
        made = []
        for _ in range(2):
            found = lab.once("a", lambda: {"x": made.append(1) or 0.1})
        assert (found, made) == ({"x": 0.1}, [1])
        again = Lab(tmp_path / "memory.jsonl", None, Screen(quiet=True), StopRequest())
        assert again.once("a", lambda: pytest.fail("made again")) == {"x": 0.1}

    def test_half_a_line_is_cut_off(self, lab, tmp_path):
        lab.once("a", lambda: {"x": 1})
        file = tmp_path / "memory.jsonl"
        file.write_text(file.read_text() + '{"name": "b", "fig')
        again = Lab(file, None, Screen(quiet=True), StopRequest())
        assert again.once("b", lambda: {"x": 2}) == {"x": 2}
        assert len(file.read_text().splitlines()) == 2

    def test_a_memory_that_is_none_is_named(self, tmp_path):
        file = tmp_path / "memory.jsonl"
        file.write_text("nonsense\n")
        with pytest.raises(DataError, match=r"memory.jsonl:1: not usable JSON"):
            Lab(file, None, Screen(quiet=True), StopRequest())

    def test_nothing_is_begun_after_a_stop(self, tmp_path):
        stop = StopRequest()
        stop.signal = 15
        lab = Lab(tmp_path / "memory.jsonl", None, Screen(quiet=True), stop)
        with pytest.raises(StoppedError):
            lab.once("a", dict)

    def test_a_training_that_diverges_is_a_figure(self, lab):
        few = load("digits").train.take(np.arange(64), "few")
        model = nn.chain(flatten=nn.Flatten(), hidden=nn.Dense(8), logits=nn.Dense(10))
        recipe = Recipe("sgd", 1e30, epochs=3, batch_size=32)
        found = lab.train("wild", model, few, recipe, seed=0, evaluate_on={"test": few})
        assert found["diverged"] is not None
        assert last(found, "test") == 0
        assert best_rate([1.0, 2.0], lambda r: {"validation": [[1, r, 0.5]] if r > 1 else []}) == 2


def test_mean_and_deviation():
    assert mean([1.0, 2.0, 4.5]) == 2.5
    assert deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))
    assert deviation([1.0]) == 0
    assert percent([0.99, 0.98]) == "98.50 % (0.71)"


class TestRavine:
    def test_a_path_is_gradient_descent(self):
        """Against the rule v <- m v + g; w <- w - a v written out in NumPy."""
        config = ravine.RavineConfig(steps=50)
        for momentum in (0.0, 0.9):
            places, values = ravine.descend(momentum, config)
            w, v = np.asarray(config.start, np.float64), np.zeros(2)
            for step in range(51):
                x, y = w
                wall = 3 * y - x**2
                assert places[step] == pytest.approx(w, abs=1e-3)
                assert values[step] == pytest.approx((1 - x) ** 2 + 20 * wall**2, rel=0.02)
                gradient = np.asarray([-2 * (1 - x) - 80 * x * wall, 120 * wall])
                v = momentum * v + gradient
                w = w - config.step_size * v

    def test_arrival_is_for_good(self):
        assert ravine.arrival(np.asarray([3.0, 0.0, 3.0, 0.0, 0.0]), 1.0) == 3
        assert ravine.arrival(np.asarray([0.0]), 1.0) == 0
        assert ravine.arrival(np.asarray([0.0, np.nan]), 1.0) is None


class TestFineTune:
    def test_the_parts_have_their_classes(self):
        digits = load("digits").train
        part = fine_tune.only(digits, range(5, 10))
        assert part.classes == digits.classes[5:]
        assert set(part.labels.tolist()) == set(range(5))
        assert len(part) == int((digits.labels >= 5).sum())
        few = fine_tune.few_of_each(part, 3, seed=1)
        assert np.bincount(few.labels).tolist() == [3] * 5
        assert (few.images == fine_tune.few_of_each(part, 3, seed=1).images).all()
