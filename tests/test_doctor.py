"""The doctor's checks, each shown machines in good and in bad health; and the whole once."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcnn.doctor import Finding, examine, folders, machine, probe, software, status, summary
from jaxcnn.doctor.machine import LARGE_PAGES

ROOT = Path(__file__).parent.parent
GOOD = {"jax": "0.10.2", "jaxlib": "0.10.2", "flax": "0.12.8", "optax": "0.2.8"}


def levels(findings) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings}


def test_a_finding_is_one_line():
    finding = Finding("error", "jax", "is missing: install it")
    assert re.fullmatch(r"error +jax +is missing: install it", str(finding))
    fine = Finding("ok", "python", "3.11.7")
    assert (status([fine]), status([fine, finding])) == (0, 1)
    assert summary([fine, finding, fine]) == "2 ok, 0 warnings, 1 error"


@pytest.mark.parametrize(
    ("version", "level"), [((3, 11, 0), "ok"), ((3, 14, 1), "ok"), ((3, 10, 9), "error")]
)
def test_python(version, level):
    assert software.python(version).level == level


class TestPackages:
    def test_what_fits_is_fine(self):
        assert set(levels(software.packages(GOOD)).values()) == {"ok"}

    @pytest.mark.parametrize(
        ("changes", "subject", "says"),
        [
            ({"flax": None}, "flax", "is missing: pip install 'flax>=0.12'"),
            ({"optax": "0.2.5"}, "optax", "0.2.5 is too old"),
            ({"jaxlib": "0.10.1"}, "jax, jaxlib", "jax is 0.10.2 but jaxlib is 0.10.1"),
            ({"jaxlib": None}, "jaxlib", "is missing"),
            ({"jax-cuda13-plugin": "0.9.0"}, "jax-cuda13-plugin", "pip install 'jax[cuda13]=="),
        ],
    )
    def test_what_does_not_is_an_error(self, changes, subject, says):
        findings = software.packages(GOOD | changes)
        bad = [finding for finding in findings if finding.level != "ok"]
        assert [(finding.level, finding.subject) for finding in bad] == [("error", subject)]
        assert says in bad[0].text

    def test_a_development_version_counts_by_its_numbers(self):
        newer = GOOD | {"flax": "0.13.0.dev20260101", "jax-cuda12-plugin": "0.10.2"}
        assert set(levels(software.packages(newer)).values()) == {"ok"}

    def test_what_is_installed_here_fits(self):
        found = software.installed()
        assert found["jax"] == __import__("jax").__version__
        assert not [f for f in software.packages(found) if f.level == "error"]


def test_variables_that_change_results_are_named():
    assert levels(software.variables({"HOME": "/root", "XLA_FLAGS": ""})) == {"variables": "ok"}
    found = software.variables({"XLA_FLAGS": "--xla_x=1", "JAX_ENABLE_X64": "1"})
    assert levels(found) == {"XLA_FLAGS": "warning", "JAX_ENABLE_X64": "warning"}
    assert "'--xla_x=1'" in found[0].text


class TestCores:
    @pytest.mark.parametrize(
        ("files", "granted"),
        [
            ({"cpu.max": "max 100000\n"}, math.inf),
            ({"cpu.max": "150000 100000\n"}, 1.5),
            ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
            ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
            ({"cpu.max": "nonsense"}, math.inf),
            ({}, math.inf),
        ],
    )
    def test_the_limit_of_a_container(self, tmp_path, files, granted):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        assert machine.granted_cores(tmp_path) == granted

    @pytest.mark.parametrize(
        ("seen", "level", "says"),
        [
            ((8, 8, math.inf), "ok", "8 of 8"),
            ((64, 4, 4.0), "ok", "4 of 64"),
            ((64, 64, 2.0), "warning", "taskset -c 0-1"),
            ((64, 64, 0.5), "warning", "taskset -c 0-0"),
            ((1, 1, math.inf), "warning", "slow"),
        ],
    )
    def test_threads_need_cores(self, seen, level, says):
        finding = machine.cores(machine.Cores(*seen))
        assert (finding.level, says in finding.text) == (level, True)

    def test_this_machine_has_some(self):
        seen = machine.count_cores()
        assert 1 <= seen.allowed <= seen.machine


class TestMemory:
    def test_the_smallest_limit_counts(self, tmp_path):
        meminfo = tmp_path / "meminfo"
        meminfo.write_text("MemTotal: 99 kB\nMemAvailable:   8388608 kB\n")
        assert machine.free_memory(meminfo, tmp_path) == 8 * machine.GIB
        (tmp_path / "memory.max").write_text("max\n")
        (tmp_path / "memory.current").write_text("1\n")
        assert machine.free_memory(meminfo, tmp_path) == 8 * machine.GIB
        (tmp_path / "memory.max").write_text(f"{2 * machine.GIB}\n")
        (tmp_path / "memory.current").write_text(f"{machine.GIB}\n")
        assert machine.free_memory(meminfo, tmp_path) == machine.GIB
        assert machine.free_memory(tmp_path / "none", tmp_path / "none") == math.inf

    @pytest.mark.parametrize(
        ("free", "level"), [(16, "ok"), (2, "warning"), (0.5, "error"), (math.inf, "ok")]
    )
    def test_levels(self, free, level):
        assert machine.memory(free * machine.GIB).level == level


class TestPages:
    LIBC = ("glibc", "2.36")

    @pytest.mark.parametrize(
        ("setting", "tunables", "libc", "level", "says"),
        [
            ("always [madvise] never", "", LIBC, "warning", f"GLIBC_TUNABLES={LARGE_PAGES}"),
            ("always [madvise] never", "a.b=1", LIBC, "warning", f"add {LARGE_PAGES} to"),
            (
                "always [madvise] never",
                f"{LARGE_PAGES}:{LARGE_PAGES[:-1]}0",
                LIBC,
                "warning",
                "add",
            ),
            ("always [madvise] never", f"a.b=1:{LARGE_PAGES}", LIBC, "ok", "large, as"),
            ("always [madvise] never", "", ("glibc", "2.36+vendor"), "warning", "small"),
            ("[always] madvise never", "", LIBC, "ok", "large, for all"),
            ("[always] madvise never", "", ("glibc", "2.34"), "ok", "large, for all"),
            ("always madvise [never]", "", LIBC, "ok", "the kernel gives no"),
            (None, "", LIBC, "ok", "the kernel does not say"),
            ("always [madvise] never", "", ("glibc", "2.34"), "ok", "cannot ask"),
            ("always [madvise] never", "", ("glibc", "2."), "ok", "cannot ask"),
            ("always [madvise] never", "", ("", ""), "ok", "cannot ask"),
        ],
    )
    def test_levels(self, tmp_path, setting, tunables, libc, level, says):
        if setting:
            (tmp_path / "enabled").write_text(setting + "\n")
        environment = {"GLIBC_TUNABLES": tunables} if tunables else {}
        finding = machine.pages(environment, libc, tmp_path / "enabled")
        assert (finding.level, says in finding.text) == (level, True)

    @pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
    @pytest.mark.parametrize("given", [None, "x=1"])
    def test_make_sets_what_it_asks_for_and_leaves_what_is_set(self, given):
        outer = ("GLIBC_TUNABLES", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
        environment = {k: v for k, v in os.environ.items() if k not in outer}
        if given:
            environment["GLIBC_TUNABLES"] = given
        done = subprocess.run(
            ["make", "-s", "-f", "-", "train-that"],
            input='include Makefile\ntrain-that: ; @echo "$$GLIBC_TUNABLES"\n',
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{given or LARGE_PAGES}\n"


class TestDevices:
    def test_signs_of_a_gpu(self, tmp_path):
        for name in ("nvidia0", "nvidiactl", "null"):
            (tmp_path / name).write_text("")
        (tmp_path / "driver" / "gpus" / "0000:01:00.0").mkdir(parents=True)
        smi = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1234)\nWARNING: something\n"
        signs = machine.gpu_signs(tmp_path, tmp_path / "driver", smi)
        assert [Path(sign).name for sign in signs[:2]] == ["nvidia0", "0000:01:00.0"]
        assert signs[2:] == ["GPU 0: NVIDIA H100 80GB HBM3"]
        assert machine.gpu_signs(tmp_path / "x", tmp_path / "x", "") == []

    @pytest.mark.parametrize(
        ("backend", "signs", "environment", "level"),
        [
            ("cpu", [], {}, "ok"),
            ("gpu", ["/dev/nvidia0"], {}, "ok"),
            ("cpu", ["/dev/nvidia0"], {}, "error"),
            ("cpu", ["/dev/nvidia0"], {"JAX_PLATFORMS": "cpu"}, "warning"),
            ("cpu", ["/dev/nvidia0"], {"CUDA_VISIBLE_DEVICES": ""}, "warning"),
            ("cpu", ["/dev/nvidia0"], {"CUDA_VISIBLE_DEVICES": "0"}, "error"),
        ],
    )
    def test_a_gpu_that_is_not_used(self, backend, signs, environment, level):
        finding = machine.devices(backend, ["x"], signs, environment)
        assert finding.level == level
        if level == "error":
            assert "a GPU is present (/dev/nvidia0), but JAX runs on cpu" in finding.text
            assert "pip install 'jax[cuda13]'" in finding.text

    def test_nvidia_smi_that_is_missing_fails_or_hangs_says_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert machine.list_gpus() == ""
        smi = tmp_path / "nvidia-smi"
        smi.write_text("#!/bin/sh\necho 'GPU 0: X (UUID: y)'\nexit ${CODE:-0}\n")
        smi.chmod(0o755)
        assert machine.list_gpus() == "GPU 0: X (UUID: y)\n"
        monkeypatch.setenv("CODE", "9")
        assert machine.list_gpus() == ""


class TestFolders:
    def state(self, path, **changes):
        return folders.look(path)._replace(**{"free": 1e12, **changes})

    def test_a_good_one_and_one_to_be_made(self, tmp_path):
        (tmp_path / "a-cache").write_bytes(b"1234")
        finding = folders.folder("compiled", folders.look(tmp_path, "*-cache"), os.getuid())
        assert (finding.level, finding.text) == ("ok", f"{tmp_path}: 1 programs, 0.0 MiB")
        later = folders.folder("cache", folders.look(tmp_path / "a" / "b"), os.getuid())
        assert (later.level, "will be made" in later.text) == ("ok", True)

    @pytest.mark.parametrize(
        ("changes", "level", "says"),
        [
            ({"owner": -7}, "error", "belongs to user -7"),
            ({"others": True}, "error", "chmod go-w"),
            ({"writable": False}, "warning", "cannot be written"),
            ({"exists": False, "writable": False}, "warning", "cannot be made"),
            ({"free": 1e6}, "warning", "only 1 MiB free"),
        ],
    )
    def test_bad_ones(self, tmp_path, changes, level, says):
        finding = folders.folder("cache", self.state(tmp_path, **changes), os.getuid())
        assert (finding.level, says in finding.text) == (level, True)

    def test_looking(self, tmp_path):
        tmp_path.chmod(0o777)
        seen = folders.look(tmp_path)
        assert (seen.others, seen.owner, seen.exists) == (True, os.getuid(), True)
        tmp_path.chmod(0o700)
        assert not folders.look(tmp_path).others
        (tmp_path / "file").write_text("")
        blocked = folders.look(tmp_path / "file")
        assert (blocked.exists, blocked.writable) == (False, False)
        assert folders.look(tmp_path / "file" / "below").exists is False

    def test_below_a_folder_that_one_may_not_enter(self, closed, monkeypatch):
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(closed / "cache"))
        seen = folders.places({})["cache"]
        finding = folders.folder("cache", seen, os.getuid())
        assert (finding.level, "cannot be made" in finding.text) == ("warning", True)
        monkeypatch.setenv("TFDS_DATA_DIR", str(closed / "data"))
        monkeypatch.delenv("DATA_DIR", raising=False)
        assert {"mnist", "cifar10"} <= set(folders.find_data(None))

    def test_places_follow_the_variables(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path))
        assert folders.places({})["compiled"].path == tmp_path / "compiled"
        there = folders.places({"JAX_COMPILATION_CACHE_DIR": "/x"})
        assert there["compiled"].path == Path("/x")
        assert there["cache"].path == tmp_path


class TestData:
    def test_what_is_found_and_what_is_not(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "none"))
        prepared = tmp_path / "cifar10" / "3.0.2"
        prepared.mkdir(parents=True)
        (prepared / "dataset_info.json").write_text("{}")
        found = folders.find_data(tmp_path)
        assert found["cifar10"] == [f"prepared in {prepared}"]
        assert found["mnist"] == []
        findings = folders.data(found, tmp_path, readable=True)
        assert levels(findings) == {"data cifar10": "ok", "data mnist": "warning"}

    def test_half_a_data_set_is_a_finding_and_not_the_end(self, tmp_path, monkeypatch):
        (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
        monkeypatch.setattr(probe, "run", lambda **_: {"problem": "not asked"})
        monkeypatch.setattr(probe, "training", lambda _: [Finding("ok", "training", "")])
        findings = list(examine(tmp_path))
        (bad,) = [finding for finding in findings if finding.subject == "data"]
        assert (bad.level, "holds part of an IDX data set" in bad.text) == ("error", True)
        assert findings[-1].subject == "training"

    def test_a_folder_that_cannot_be_read(self):
        (finding,) = folders.data({}, Path("/none"), readable=False)
        assert finding.level == "error"


FINE = {"loss": 0.7, "seconds": 1.0, "cache": "5 of 5 programs", "rejected": 0}


class TestProbe:
    @pytest.mark.parametrize(
        ("code", "timeout", "says"),
        [
            ("raise SystemExit('no such flag')", 60, "status 1: no such flag"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 60, "signal 9: no message"),
            ("import time; time.sleep(60)", 1, "took over 1 s"),
            ("print('hello')", 60, "printed 'hello' instead"),
        ],
    )
    def test_a_broken_jax_is_a_finding(self, code, timeout, says):
        found = probe.run([sys.executable, "-c", code], timeout=timeout)
        assert says in found["problem"]
        (finding,) = probe.training(found)
        assert (finding.level, says in finding.text) == ("error", True)

    def test_a_missing_interpreter_is_a_finding(self):
        assert "cannot start /none/python" in probe.run(["/none/python"])["problem"]

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, ["ok", "ok"]),
            ({"loss": None}, ["error", "ok"]),
            ({"cache": None}, ["ok", "warning"]),
            ({"rejected": 3}, ["ok", "warning"]),
        ],
    )
    def test_levels(self, changes, expected):
        assert [f.level for f in probe.training(FINE | changes)] == expected


def doctor(tmp_path, *given, **variables):
    return subprocess.run(
        [sys.executable, "-m", "jaxcnn", "doctor", *given],
        cwd=ROOT,
        env={**os.environ, "JAXCNN_CACHE_DIR": str(tmp_path / "cache"), **variables},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_the_whole_on_this_machine(tmp_path):
    done = doctor(tmp_path)
    lines = done.stdout.splitlines()
    assert not done.stderr
    assert all(re.match(r"(ok|warning|error) +\S", line) for line in lines[:-1])
    assert re.search(r"^ok +training +one step of a small network: loss \d\.\d+", done.stdout, re.M)
    assert re.fullmatch(r"\d+ ok, \d+ warnings?, \d+ errors?", lines[-1])
    assert done.returncode == int("\nerror " in done.stdout)


def test_a_flag_that_ends_the_process_is_an_error_not_a_crash(tmp_path):
    done = doctor(tmp_path, XLA_FLAGS="--xla_no_such_flag=1")
    assert done.returncode == 1
    assert re.search(r"^error +training +JAX ended with .*", done.stdout, re.M)
    assert "warning  XLA_FLAGS" in done.stdout


def test_its_page_explains_every_subject():
    page = (ROOT / "docs" / "doctor.md").read_text()
    subjects = {"python", "jax, jaxlib", "devices", "cores", "memory", "cache", "compiled", "pages"}
    for subject in {*subjects, "variables", "data", "training", "compile cache"}:
        assert f"| `{subject}` |" in page, subject


def test_the_probe_prints_json():
    assert json.loads(json.dumps(probe.probe()))["loss"] > 0
