"""Decoded data sets in the user's cache folder: reading one takes a tenth of a second.

An entry is a folder with one `.npy` file for each array and a manifest with their SHA-256.
It is made whole or not at all, and verified each time it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import platformdirs
from numpy.typing import NDArray

from jaxcnn import storage
from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.errors import DataError
from jaxcnn.untrusted import parse_npy, read_bytes, read_json

_FORMAT = 1
_MOST_BYTES = 8 << 30  # of one array
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cache_folder() -> Path:
    """`$JAXCNN_CACHE_DIR`, else the user's cache folder for jaxcnn."""
    chosen = os.environ.get("JAXCNN_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("jaxcnn"))


def entry_of(name: str, version: str, digests: Mapping[str, str]) -> Path:
    """Where the decoded form of files belongs, given the SHA-256 of each by its name."""
    sources = [_FORMAT, name, version, sorted(digests.items())]
    key = hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:12]
    return cache_folder() / "datasets" / f"{name}-{version}-{key}"


def entries(name: str) -> list[Path]:
    """All complete entries of the data set `name`."""
    folder = cache_folder() / "datasets"
    if not os.path.isdir(folder):  # also where it may not be looked at; `Path` would raise
        return []
    manifests = folder.glob(f"{name}-*/manifest.json")
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
            content = buffer.getvalue()
            digests[name] = hashlib.sha256(content).hexdigest()
            storage.write_new(folder / f"{name}.npy", content)
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
    manifest = read_json(entry / "manifest.json", error=DataError)
    names, classes, source = (manifest.get(key) for key in ("names", "classes", "source"))
    digests = manifest.get("sha256")
    if (
        not (_texts(names) and len(names) == 2)
        or not _texts(classes)
        or not isinstance(source, str)
        or not isinstance(digests, dict)
    ):
        raise DataError(
            f"{entry}: not a usable cache entry: its manifest lacks what it should say."
        )
    arrays = []
    for name in _ARRAYS:
        file = entry / f"{name}.npy"
        content = read_bytes(file, most=_MOST_BYTES, error=DataError, follow=False)
        if hashlib.sha256(content).hexdigest() != digests.get(name):
            raise DataError(f"{file}: does not match its SHA-256; it is damaged.")
        arrays.append(parse_npy(content, file, error=DataError))
    try:
        return Splits(
            train=Dataset(names[0], arrays[0], arrays[1], tuple(classes), source),
            test=Dataset(names[1], arrays[2], arrays[3], tuple(classes), source),
        )
    except DataError as error:  # which names only where the entry says it came from
        raise DataError(f"{entry}: {error}") from error


def _texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
