"""Settings of an experiment: on the command line, and as a run keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import lenet
from experiments.harness.config import from_json, to_json
from experiments.harness.find import find_experiment
from experiments.harness.runner import main
from experiments.lenet import EXPERIMENT, LeNetConfig
from jaxcnn.errors import ConfigError
from tests.experiment_runs import arguments, run_main


@pytest.fixture(autouse=True)
def _no_user_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--epochs", "0"], "--epochs 0: expected 1 or more"),
        (["--batch-size", "-3"], "--batch-size -3: expected 1 or more"),
        (["--shift", "-1"], "--shift -1: expected 0 or more"),
        (["--expected", "99"], "--expected 99.0: expected a fraction"),
        (["--rate", "0"], "rate=0.0 is not allowed"),
        (["--rate", "nan"], "rate=nan is not allowed"),
        (["--rate", "inf"], "rate=inf is not allowed"),
        (["--momentum", "1.5"], "momentum=1.5 is not allowed"),
        (["--beta1", "0.9"], "optimizer 'nesterov' has no 'beta1': it takes momentum"),
        (["--warmup", "99"], "warmup=99.0 is not allowed"),
        (["--clip-norm", "0"], "clip_norm=0.0 is not allowed"),
        (["--label-smoothing", "1"], "--label-smoothing 1.0: expected"),
        (["--validation", "1437"], "cannot hold out 1437"),
        (["--trainable-subsampling"], "needs variant='1998'"),
        (["--data", "idx"], "needs the folder"),
        (["--resume", "nowhere"], "no usable config"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(tmp_path, capsys, given, message):
    status, err = run_main(capsys, *arguments(tmp_path), *given)
    assert status == 2, err
    assert message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "given", [["--epoch", "3"], ["--epochs", "three"], ["--optimizer", "sdg"], ["--data", "minst"]]
)
def test_a_wrong_flag_is_one_screen_and_status_2(capsys, given):
    with pytest.raises(SystemExit) as caught:
        main(EXPERIMENT, given)
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert len((shown.out + shown.err).splitlines()) < 25
    assert "Traceback" not in shown.out + shown.err


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as caught:
        main(EXPERIMENT, ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for field in ("epochs", "batch-size", "optimizer", "schedule", "weight-decay", "shift"):
        assert f"--{field}" in text
    for field in to_json(LeNetConfig()):
        assert f"--{field.replace('_', '-')}" in text


def test_bad_places_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(
        "JAXCNN_CACHE_DIR", str(tmp_path / "cache")
    )  # an earlier run's may hold MNIST
    (tmp_path / "file").write_text("")
    status, err = run_main(capsys, *arguments(tmp_path, "--out", tmp_path / "file"))
    assert status == 1
    assert f"cannot write {tmp_path / 'file'}" in err
    status, err = run_main(
        capsys, *arguments(tmp_path, "--data", "mnist", "--data-dir", tmp_path / "no")
    )
    assert status == 1
    assert f"{tmp_path / 'no'}: cannot be used as data folder: No such file" in err
    status, err = run_main(capsys, *arguments(tmp_path, "--data", "mnist", "--no-download"))
    assert status == 1
    assert "mnist is in none of the places tried" in err


class TestConfig:
    def test_a_config_of_another_experiment_is_refused(self, tmp_path):
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"epochs": 3}))
        with pytest.raises(ConfigError, match="not those of this experiment"):
            from_json(LeNetConfig, file)
        for text in ("", "{", "[]"):
            file.write_text(text)
            with pytest.raises(ConfigError, match=r"no usable config|not those of"):
                from_json(LeNetConfig, file)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"epochs": "3"}, r"epochs is '3', expected int \| None"),
            ({"epochs": 3.0}, "epochs is '3.0', expected int"),
            ({"epochs": True}, "epochs is 'True', expected int"),
            ({"download": 1}, "download is '1', expected <class 'bool'>"),
            ({"factor": None}, "factor is 'None', expected <class 'float'>"),
            ({"optimizer": "pickle"}, "optimizer is 'pickle', expected"),
            ({"out": 7}, "out is '7', expected"),
            ({"out": ""}, "out is '', expected"),
            ({"out": "a\0b"}, "out is .*expected"),
            ({"data_dir": ["/"]}, "data_dir is .*expected"),
            ({"keep": 0}, r"config.json: --keep 0: expected 1 or more"),
            ({"epoch": 3}, "'epoch' is unknown"),
        ],
        ids=str,
    )
    def test_a_config_with_other_values_is_refused(self, tmp_path, change, message):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(to_json(LeNetConfig()) | change))
        with pytest.raises(ConfigError, match=message):
            from_json(LeNetConfig, file)

    def test_a_config_with_a_misspelt_field_names_the_right_one(self, tmp_path):
        values = to_json(LeNetConfig())
        values["epocs"] = values.pop("epochs")
        (tmp_path / "config.json").write_text(json.dumps(values))
        with pytest.raises(ConfigError, match="'epocs' is unknown, epochs is missing"):
            from_json(LeNetConfig, tmp_path / "config.json")

    def test_a_setting_that_is_no_more_is_passed_over(self, tmp_path):
        (tmp_path / "config.json").write_text(
            json.dumps(to_json(LeNetConfig()) | {"keep_memory": True})
        )
        assert from_json(LeNetConfig, tmp_path / "config.json") == LeNetConfig()

    def test_a_config_comes_back(self, tmp_path):
        config = LeNetConfig(rate=1, data_dir=Path("x"), max_minutes=1.5, variant="1998")
        (tmp_path / "config.json").write_text(json.dumps(to_json(config)))
        assert from_json(LeNetConfig, tmp_path / "config.json") == config


@pytest.mark.parametrize("name", ["os", "../lenet", "lenet.main", "look", "", 3])
def test_only_experiments_are_found_by_name(name):
    assert find_experiment("lenet") is EXPERIMENT
    with pytest.raises(ConfigError, match=r"there is no experiment .*'make help' lists them"):
        find_experiment(name)


def test_the_network_fits_the_image():
    config = LeNetConfig()
    from jaxcnn import ledger

    assert ledger(lenet.model(config, (28, 28, 1), 10), (28, 28, 1)).params == 61_706
    assert ledger(lenet.model(config, (32, 32, 3), 10), (32, 32, 3)).params == 62_006
