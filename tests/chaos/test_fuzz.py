"""Mutated files of every format: a typed error, or what the file provably holds.

10,000 of each in `make test-chaos`, in a child process that has memory for twice the honest file
and 64 MiB. Time is that of the processor, so that a busy machine changes nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.draws import FULL, draws, generator

pytest.importorskip("safetensors")
if not Path("/proc/self/clear_refs").exists():
    pytest.skip("limits of a process are set and read as Linux does", allow_module_level=True)

ROOT = Path(__file__).parents[2]
FORMATS = (
    *("idx", "idx.gz", "npy", "npz", "checkpoint", "manifest", "sealed manifest", "cache"),
    *("cache manifest", "config", "record", "metrics", "dataset_info", "features", "array_record"),
    *("png", "jpeg", "safetensors"),
)
COUNT = draws(120, 10_000)
SECONDS = 5.0
SPARE = 64 << 20
HONEST = 64 << 10  # no honest file of these is larger

pytestmark = pytest.mark.xdist_group("fuzz")


def run_child(module: str, *arguments: str, folder: Path, timeout: float) -> list[dict]:
    """JSON lines that a module of this folder prints in a process of its own."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "JAXCNN_CACHE_DIR": str(folder / "cache"),
        "JAX_PLATFORMS": "cpu",
        "MALLOC_ARENA_MAX": "1",  # an arena of each thread is 128 MiB of address space
    }
    done = subprocess.run(
        [sys.executable, "-m", f"tests.chaos.{module}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=timeout,
    )
    assert done.returncode == 0, f"the child died: {done.returncode}\n{done.stderr[-4_000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def report_of(tmp_path_factory) -> Callable[[str], dict]:
    """One child for all formats where few files are read, and one for each otherwise."""
    seed = str(generator().integers(1 << 31))
    reports: dict[str, dict] = {}

    def report_of(name: str) -> dict:
        if name not in reports:
            folder = tmp_path_factory.mktemp("fuzz")
            given = ("--folder", str(folder), "--count", str(COUNT), "--seed", seed)
            group = [name] if FULL else FORMATS
            made = run_child("fuzz_child", *group, *given, folder=folder, timeout=3_000)
            reports.update((report["format"], report) for report in made)
        return reports[name]

    return report_of


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", FORMATS)
def test_a_mutated_file_is_refused_or_read_right(report_of, name):
    report = report_of(name)
    good = report["count"] - report["failed"]
    print(
        f"{good}/{report['count']} mutated {name} files: {report['refused']} refused, "
        f"{report['read']} read and proven right; slowest {report['slowest']:.3f} s, "
        f"memory {report['memory'] / 2**20:.1f} MiB"
    )
    assert not report["failures"], json.dumps(report["failures"], indent=1)
    assert report["count"] == COUNT == report["refused"] + report["read"]
    assert report["refused"] > COUNT / 10  # or nothing was damaged
    assert report["slowest"] <= SECONDS  # of the processor
    assert report["memory"] <= 2 * HONEST + SPARE


def test_every_format_is_listed():
    from tests.chaos.reader_formats import FORMATS as KNOWN

    assert set(KNOWN) == set(FORMATS)
