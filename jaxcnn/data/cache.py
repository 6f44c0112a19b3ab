"""Decoded data sets in the user's cache folder: reading one takes a tenth of a second.

An entry is a folder with one `.npy` file for each array and a manifest with their SHA-256.
It is made whole or not at all, and verified each time it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from jaxcnn import storage
from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.errors import DataError

_FORMAT = 1
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cache_folder() -> Path:
    """`$JAXCNN_CACHE_DIR`, else the user's cache folder for jaxcnn."""
    chosen = os.environ.get("JAXCNN_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("jaxcnn"))


def entry_of(name: str, version: str, files: Sequence[Path]) -> Path:
    """Where the decoded form of `files` belongs: keyed by name, version, file names and sizes.

    Raises:
      DataError: a file is missing.
    """
    try:
        sizes = [(path.name, path.stat().st_size) for path in files]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}.") from error
    key = hashlib.sha256(json.dumps([_FORMAT, name, version, sizes]).encode()).hexdigest()[:12]
    return cache_folder() / "datasets" / f"{name}-{version}-{key}"


def entries(name: str) -> list[Path]:
    """All complete entries of the data set `name`."""
    manifests = (cache_folder() / "datasets").glob(f"{name}-*/manifest.json")
    return sorted(path.parent for path in manifests)


def write(entry: Path, splits: Splits) -> None:
    """Stores decoded splits.

    Raises:
      OutputError: the cache folder cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "train_images": splits.train.images,
        "train_labels": splits.train.labels,
        "test_images": splits.test.images,
        "test_labels": splits.test.labels,
    }
    with storage.new_folder(entry) as folder:
        digests = {}
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            content = buffer.getbuffer()
            digests[name] = hashlib.sha256(content).hexdigest()
            (folder / f"{name}.npy").write_bytes(content)
        manifest = {
            "format": _FORMAT,
            "names": [splits.train.name, splits.test.name],
            "classes": splits.train.classes,
            "source": splits.train.source,
            "sha256": digests,
        }
        storage.write_json(folder / "manifest.json", manifest)


def read(entry: Path) -> Splits:
    """Reads an entry and verifies it.

    Raises:
      DataError: it is incomplete or damaged.
    """
    try:
        manifest = json.loads((entry / "manifest.json").read_bytes())
        arrays = []
        for name in _ARRAYS:
            content = (entry / f"{name}.npy").read_bytes()
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise DataError(f"{entry / name}.npy: does not match its SHA-256; it is damaged.")
            arrays.append(np.load(io.BytesIO(content), allow_pickle=False))
        train_name, test_name = manifest["names"]
        classes, source = tuple(manifest["classes"]), manifest["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{entry}: not a usable cache entry: {error}.") from error
    return Splits(
        train=Dataset(train_name, arrays[0], arrays[1], classes, source),
        test=Dataset(test_name, arrays[2], arrays[3], classes, source),
    )
