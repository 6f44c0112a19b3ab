"""What tests share: keys, images and small data sets."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import chex
import jax
import numpy as np
import pytest

from jaxcnn.data import Dataset, Splits


@pytest.fixture(autouse=True)
def _fresh_trace_counts():
    """`chex.assert_max_traces` counts by function name over the whole process otherwise."""
    chex.clear_trace_counter()


@pytest.fixture(autouse=True)
def _one_device(monkeypatch):
    """Tests see 8 devices; a training takes one unless its test says which."""
    monkeypatch.setattr(importlib.import_module("jaxcnn.parallel.plan"), "all_devices", _first)


def _first() -> list[jax.Device]:
    return jax.devices()[:1]


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def closed(tmp_path, monkeypatch) -> Path:
    """A folder that one may not enter: `Path.exists` raises below it, on Python 3.11.

    Root may enter any, so `os.stat` and `os.access` play it.
    """
    folder, really, access = tmp_path / "closed", os.stat, os.access
    folder.mkdir()

    def stat(path, *args, **kwargs):
        if str(path).startswith(f"{folder}/"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *args, **kwargs)

    monkeypatch.setattr("os.stat", stat)
    monkeypatch.setattr(
        "os.access", lambda path, *args, **kwargs: Path(path) != folder and access(path, *args)
    )
    return folder


def nnx_works() -> bool:
    """Whether `flax.nnx` can be imported: that of Flax 0.12.8 cannot on JAX 0.11."""
    try:
        importlib.import_module("flax.nnx")
    except (AttributeError, ImportError):
        return False
    return True


def blobs(count: int, *, classes: int = 3, size: int = 12, seed: int = 0) -> Dataset:
    """An easy set: class k is a bright square at place k, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count).astype(np.int32)
    images = rng.integers(60, size=(count, size, size, 1)).astype(np.uint8)
    for row, label in enumerate(labels):
        corner = 3 * label
        images[row, corner : corner + 4, corner : corner + 4] += 150
    return Dataset("blobs", images, labels, tuple("abcdefgh"[:classes]), "made by the tests")


@pytest.fixture(scope="session")
def small() -> Splits:
    return Splits(train=blobs(150, seed=1), test=blobs(45, seed=2))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The prepared data of `$DATA_DIR`; tests that need real files skip without it."""
    folder = os.environ.get("DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs prepared data: set DATA_DIR to a folder that holds mnist/3.0.1")
    return Path(folder)
