"""Losses and outputs of published networks are what they were when the golden files were written.

Across versions of JAX, processors and optimization they differ by rounding: 1e-4 is let pass. A
change that is meant to change them: see `tests/golden/make.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden.networks import GOLDEN, values

FOLDER = Path(__file__).parent / "golden"
RELATIVE = 1e-4
LARGE = ("alexnet_32nd", "vit_tiny16_2blocks")  # they take the longest to compile


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((name, (0, 1, 10)) for name in GOLDEN if name not in LARGE),
        *(pytest.param(name, (0, 1, 10), marks=pytest.mark.slow) for name in LARGE),
        *(pytest.param(name, (0, 100), marks=pytest.mark.slow) for name in GOLDEN),
    ],
)
def test_values_are_what_they_were(name, steps):
    wanted = json.loads((FOLDER / f"{name}.json").read_text())
    got = values(name, steps)
    assert got["parameters"] == wanted["parameters"]
    largest = np.abs(wanted["logits"]).max()
    np.testing.assert_allclose(got["logits"], wanted["logits"], atol=RELATIVE * largest)
    for step in map(str, steps):
        assert got["loss"][step] == pytest.approx(wanted["loss"][step], rel=RELATIVE), step


def test_every_file_has_its_network_and_a_reason():
    files = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    assert set(files) == set(GOLDEN)
    assert all(content["reason"].strip() for content in files.values())
    assert all(set(content["loss"]) == {"0", "1", "10", "100"} for content in files.values())
