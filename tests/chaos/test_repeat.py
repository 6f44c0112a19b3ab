"""The same command again and again, in processes of its own: the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.draws import draws

ROOT = Path(__file__).parent.parent.parent
SETTINGS = ["--data", "digits", "--epochs", "1", "--expected", "0", "--seed", "3"]


def run(out: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.lenet", *SETTINGS, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = out.glob("lenet/*/record.json")
    return json.loads(record.read_text())


def test_the_same_seed_and_settings_give_the_same_bits(tmp_path):
    count = draws(0, 20)
    if not count:
        pytest.skip("the fast suite repeats a run in tests/test_repro.py")
    records = [run(tmp_path / str(number)) for number in range(count)]
    first = records[0]
    equal = sum(
        record["digest"] == first["digest"] and record["test"] == first["test"]
        for record in records
    )
    print(f"{equal}/{count} runs end in the digest {first['digest']['all'][:16]}")
    assert set(first["digest"]) == {"all", "step", "params", "state", "opt_state"}
    assert equal == count
