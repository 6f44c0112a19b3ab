"""A tiny set that stands for MNIST, and folders of a test's own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxcnn.data import Dataset, Splits
from jaxcnn.data.known import KNOWN, content_digest
from tests.data.idx_files import DIGITS


@pytest.fixture
def tiny(rng) -> Splits:
    def part(count):
        return Dataset(
            "tiny",
            rng.integers(256, size=(count, 5, 4, 1)).astype(np.uint8),
            rng.integers(10, size=count).astype(np.int32),
            DIGITS,
            "tests",
        )

    return Splits(part(30), part(12))


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """Neither the user's cache nor their data folder is looked at."""
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def known(tiny, monkeypatch):
    """Makes "mnist" stand for the tiny set, content pinned."""
    entry = dataclasses.replace(
        KNOWN["mnist"],
        image_shape=(5, 4, 1),
        train=30,
        test=12,
        content=(content_digest(tiny.train), content_digest(tiny.test)),
    )
    monkeypatch.setitem(KNOWN, "mnist", entry)
    return entry
