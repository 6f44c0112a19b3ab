"""`jaxcnn repro` and `jaxcnn replay`: recorded runs and faults, once more."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcnn import checkpoint
from jaxcnn.cli import checkout, repro
from jaxcnn.cli.main import main
from jaxcnn.digest import digest, digests
from jaxcnn.errors import ConfigError
from jaxcnn.run import RunFolder, cores, environment, processor

ROOT = Path(__file__).parent.parent


class TestDigest:
    TREE = {"a": np.arange(3, dtype=np.float32), "b": {"c": np.int32(1)}}  # noqa: RUF012

    def test_equal_trees_have_equal_digests(self):
        assert digest(self.TREE) == digest(copy.deepcopy(self.TREE))
        assert len(digest(self.TREE)) == 64

    @pytest.mark.parametrize(
        "changed",
        [
            {"a": np.arange(3, dtype=np.float32), "b": {"d": np.int32(1)}},
            {"a": np.arange(3, dtype=np.float64), "b": {"c": np.int32(1)}},
            {"a": np.arange(3, dtype=np.float32)[None], "b": {"c": np.int32(1)}},
            {"a": np.array([-0.0, 1, 2], np.float32), "b": {"c": np.int32(1)}},
            {"a": np.arange(3, dtype=np.float32), "b": {"c": np.int32(2)}},
        ],
    )
    def test_a_changed_name_dtype_shape_sign_or_value_is_seen(self, changed):
        assert digest(changed) != digest(self.TREE)

    def test_parts_have_their_own(self):
        parts = digests({"params": self.TREE, "state": {}})
        assert set(parts) == {"all", "params", "state"}
        assert parts["params"] == digest(self.TREE)


RECORD = {
    "experiment": "lenet",
    "digest": {"all": "a" * 64, "params": "b" * 64, "state": "c" * 64},
    "test": {"accuracy": 0.5, "loss": 1.0},
    "environment": {"versions": {"jax": "0.10.2"}, "backend": "cpu", "devices": ["cpu"]},
    "data": {"train": {"sha256": "1"}},
}


class TestComparing:
    def changed(self, *path, to):
        record = copy.deepcopy(RECORD)
        place = record
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to
        return record

    def test_equal_records(self):
        assert repro.compare(RECORD, copy.deepcopy(RECORD)) == []
        assert repro.differences(RECORD, copy.deepcopy(RECORD)) == []

    def test_what_differs_is_named(self):
        other = self.changed("digest", "params", to="d" * 64)
        (line,) = repro.compare(RECORD, other)
        assert "params of the train state: dddd" in line
        (line,) = repro.compare(RECORD, self.changed("test", "accuracy", to=0.25))
        assert line == "differs: test accuracy: 0.25, was 0.5"

    @pytest.mark.parametrize(
        ("path", "to", "line"),
        [
            (
                ("environment", "versions", "jax"),
                "0.11.2",
                "environment.versions.jax: 0.11.2, was 0.10.2",
            ),
            (("environment", "devices"), ["cpu"] * 2, "environment.devices: ['cpu', 'cpu'], was"),
            (("data", "train", "sha256"), "2", "data.train.sha256: 2, was 1"),
            (("lowerings",), [["max_pool", "mask"]], "lowerings: [['max_pool', 'mask']], was None"),
        ],
    )
    def test_causes_are_named(self, path, to, line):
        (got,) = repro.differences(RECORD, self.changed(*path, to=to))
        assert got.startswith(line)


def test_a_run_without_a_usable_record_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Only a finished run can be repeated"):
        repro.read(RunFolder(tmp_path))
    (tmp_path / "record.json").write_text(json.dumps({"experiment": "lenet", "test": {}}))
    with pytest.raises(ConfigError, match="holds no digest"):
        repro.read(RunFolder(tmp_path))
    (tmp_path / "record.json").write_text("[" * 200_000)
    with pytest.raises(ConfigError, match="Only a finished run can be repeated"):
        repro.read(RunFolder(tmp_path))
    odd = {"test": 5}, {"digest": "abc"}, {"digest": {}}, {"digest": {"all": "a", "params": 7}}
    for changes in odd:
        (tmp_path / "record.json").write_text(json.dumps(RECORD | changes))
        with pytest.raises(ConfigError, match=r"record.json: '(test|digest|all|params)' is "):
            repro.read(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["lenet", "../lenet", "no_such"])
def test_outside_a_checkout_it_says_so(tmp_path, name):
    with pytest.raises(ConfigError, match=r"experiments/.* is not in .*\nExperiments are not inst"):
        checkout.find(name, [tmp_path, tmp_path / "other"])


def test_a_checkout_is_found(tmp_path):
    assert checkout.find("lenet", [tmp_path, ROOT]) == ROOT


def test_fresh_folders_get_numbers(tmp_path):
    assert repro.fresh(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert repro.fresh(tmp_path / "a") == tmp_path / "a-3"


def test_errors_of_commands_have_a_status_and_no_traceback(tmp_path, capsys):
    assert main(["repro", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit) as caught:
        main(["no-such-command"])
    assert caught.value.code == 2


def test_the_record_holds_what_bits_depend_on(tmp_path):
    found = environment()
    assert {
        "versions",
        "devices",
        "backend",
        "processor",
        "cores",
        "variables",
        "jax",
        "git",
    } <= set(found)
    assert found["jax"]["jax_enable_x64"] is False
    assert found["variables"]["JAX_PLATFORMS"] == "cpu"
    assert cores() >= 1
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert processor(cpuinfo) == "Some CPU @ 2 GHz"
    assert processor(tmp_path / "none")


def start(*command, **variables):
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", **variables},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one epoch, with `--deterministic`."""
    out = tmp_path_factory.mktemp("runs")
    done = start(
        "experiments.lenet", "--data", "digits", "--epochs", "1", "--expected", "0",
        "--deterministic", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deterministic: nothing to set" in done.stdout
    (folder,) = (out / "lenet").iterdir()
    return folder


def test_a_run_repeats_to_the_bit_and_what_differs_is_explained(run):
    record = json.loads((run / "record.json").read_text())
    assert record["deterministic"] is True
    assert ["max_pool", "mask"] in record["lowerings"] or record["lowerings"]
    done = start("jaxcnn", "repro", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"equal, to the bit: train state {record['digest']['all']}" in done.stdout
    (again,) = (run.parent.parent / f"repro-of-{run.name}" / "lenet").iterdir()
    assert json.loads((again / "config.json").read_text())["like"] == str(run)


@pytest.mark.slow
def test_a_run_that_does_not_repeat_says_why(run):
    done = start("jaxcnn", "repro", run, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "differs: params of the train state" in done.stdout
    assert "environment.variables.JAX_DISABLE_MOST_OPTIMIZATIONS: 1, was nothing" in done.stdout


@pytest.mark.slow
def test_a_fault_is_kept_and_can_be_replayed(tmp_path):
    done = start(
        "experiments.lenet", "--data", "digits", "--epochs", "1", "--optimizer", "sgd",
        "--rate", "1e30", "--warmup", "0.1", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    (bundle,) = tmp_path.glob("lenet/*/faults/step-*")
    assert f"make replay BUNDLE={bundle}" in done.stderr
    place = re.search(r"stopped at step \d+ \(epoch 1\): (.*) is not finite", done.stderr).group(1)
    again = start("jaxcnn", "replay", bundle)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"first not finite: {place}" in again.stdout
    assert re.search(r"^  conv1 +\S+$", again.stdout, re.M)
    manifest = checkpoint.read_manifest(bundle)
    manifest["about"]["experiment"] = 3
    manifest["sha256"] = checkpoint.manifest_digest(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    forged = start("jaxcnn", "replay", bundle)
    assert forged.returncode == 1
    assert forged.stderr.startswith("error: ")
    assert "'experiment' is 3, expected str" in forged.stderr
    shutil.rmtree(bundle)
    assert start("jaxcnn", "replay", bundle).returncode == 1


@pytest.mark.slow  # tests/test_nonfinite.py has the same in fit
def test_bad_steps_may_be_skipped_or_rolled_back_from(tmp_path):
    """The first epoch's rate is far too high: rolling back finds one that is not."""
    given = ("--data", "digits", "--epochs", "1", "--optimizer", "sgd", "--rate", "1e30")
    more = ("--warmup", "0.1", "--expected", "0", "--out", tmp_path)
    done = start("experiments.lenet", *given, *more, "--on-nonfinite", "rollback",
                 "--nonfinite-limit", "60")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rollback: back to step 0" in done.stdout
