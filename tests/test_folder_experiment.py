"""Experiments on a folder of pictures, from the command line to the report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import alexnet, draw_folder, resnet50
from experiments.harness.config import Recipe
from experiments.harness.folder import FolderConfig, load
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import nn
from jaxcnn.run import RunFolder

SMALL = Experiment(
    name="small",
    config=FolderConfig,
    title=lambda config: "a small network",
    model=lambda config, shape, classes: nn.chain(
        conv1=nn.Conv(4, 3), act1=nn.relu, mean=nn.GlobalAvgPool(), logits=nn.Dense(classes)
    ),
    recipes={"": Recipe(2, 16, 0.05, 0.0, 0, 0, None)},
    first_layer="conv1",
    maps=("act1",),
    load=load,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "pictures"
    assert draw_folder.main([str(out), "--train", "40", "--test", "16", "--damaged", "2"]) == 0
    return out


def arguments(folder, tmp_path, *more) -> list[str]:
    given = {"--data-dir": folder, "--size": 24, "--workers": 0, "--out": tmp_path / "runs"}
    return [str(item) for pair in given.items() for item in pair] + list(more)


def run(folder, tmp_path, capsys, *more) -> tuple[int, str, str]:
    status = main(SMALL, arguments(folder, tmp_path, *more))
    out, err = capsys.readouterr()
    return status, out, err


def only_run(tmp_path) -> RunFolder:
    (path,) = (tmp_path / "runs" / "small").iterdir()
    return RunFolder(path)


def test_drawn_pictures_differ_in_size_and_mode(folder):
    paths = sorted((folder / "train").glob("*/*"))
    assert len(paths) == 40
    sizes, modes = set(), set()
    for path in paths:
        with Image.open(path) as image:
            sizes.add(image.size)
            modes.add(image.mode)
    assert len(sizes) > 30
    assert {"RGB", "L", "CMYK", "P"} <= modes


@pytest.mark.parametrize(
    ("more", "message"),
    [([], "exists already"), (["--train", "3"], "at least 8 pictures each")],
)
def test_what_cannot_be_drawn(folder, tmp_path, capsys, more, message):
    out = tmp_path / "new" if more else folder
    assert draw_folder.main([str(out), *more]) == 2
    assert message in capsys.readouterr().err


def test_from_the_folder_to_the_report(folder, tmp_path, capsys):
    status, out, err = run(folder, tmp_path, capsys, "--on-corrupt", "skip")
    assert status == 0, err
    assert "40 to train on, 16 in val, 8 classes" in out
    assert "images/s" in out
    assert "2 pictures could not be read and were left out" in out
    made = only_run(tmp_path)
    record = json.loads(made.record.read_text())
    damaged = [
        path.removesuffix(".jpg").removesuffix(".png") for path in record["data"]["left_out"]
    ]
    assert damaged == ["circle/000000", "cross/000001"]
    assert record["test"]["count"] == 16
    lines = [line for line in made.history() if line["kind"] == "train"]
    assert lines[-1]["count"] == 38
    assert (made.path / "report.html").exists()


@pytest.mark.slow  # of data in memory, tests/chaos/ has fast ones
def test_a_stopped_run_goes_on_to_the_same_bits(folder, tmp_path, capsys):
    def last(path: Path) -> dict[str, np.ndarray]:
        with np.load(only_run(path).list_checkpoints()[-1] / "arrays.npz") as arrays:
            return dict(arrays)

    skip = ("--on-corrupt", "skip")
    assert run(folder, tmp_path / "whole", capsys, *skip)[0] == 0
    status, out, _ = run(folder, tmp_path / "cut", capsys, *skip, "--max-minutes", "1e-9")
    assert status == 124
    assert "saved. To go on" in out
    resumed = (
        "--resume",
        str(only_run(tmp_path / "cut").path),
        "--max-minutes",
        "60",
        "--workers",
        "1",
    )
    assert main(SMALL, [*resumed]) == 0
    wanted, got = last(tmp_path / "whole"), last(tmp_path / "cut")
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_a_damaged_picture_ends_the_run_and_is_named(folder, tmp_path, capsys):
    status, _, err = run(folder, tmp_path, capsys)
    assert status == 1
    assert "not a whole JPEG or PNG picture" in err
    assert "train/c" in err


def test_no_folder_is_a_usage_error(tmp_path, capsys):
    assert main(SMALL, ["--out", str(tmp_path)]) == 2
    assert "python -m experiments.draw_folder OUT makes one" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "size"), [(alexnet, 67), (resnet50, 32)])
def test_the_large_networks_train(folder, tmp_path, capsys, experiment, size):
    given = arguments(folder, tmp_path, "--on-corrupt", "skip", "--epochs", "1")
    given += ["--size", str(size), "--batch-size", "8", "--workers", "2"]
    assert main(experiment.EXPERIMENT, given) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_imagenet_recipes_are_the_papers():
    recipe = dataclasses.asdict(alexnet.EXPERIMENT.recipes[""])
    assert (recipe["epochs"], recipe["batch_size"], recipe["rate"]) == (90, 128, 0.01)
    recipe = dataclasses.asdict(resnet50.EXPERIMENT.recipes[""])
    assert (recipe["epochs"], recipe["batch_size"], recipe["rate"]) == (90, 256, 0.1)
