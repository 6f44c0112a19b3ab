"""SHA-256 of data files, remembered as long as size, time of change and inode stay the same.

Hashing MNIST takes a tenth of a second, CIFAR-10 half of one: once, not at every start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from jaxcnn import storage
from jaxcnn.data.cache import cache_folder
from jaxcnn.errors import DataError, OutputError
from jaxcnn.untrusted import open_plain, read_json

_MOST = 64 << 30  # bytes of a file
_SETTLED = 2.0  # seconds: a file that changed later might change again within one tick of its time


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in full.

    Raises:
      DataError: it cannot be read.
    """
    with open_plain(path, most=_MOST, error=DataError) as (file, _):
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def remembered_digest(path: Path) -> str | None:
    """The digest that the file had when it was last hashed; None if it changed since, or never was.

    Raises:
      DataError: the file is missing.
    """
    try:
        note = read_json(_note(path), error=DataError)
    except DataError:  # never hashed, or a damaged note: the file itself is asked
        return None
    digest = note.pop("sha256", None)
    return digest if note == _identity(path) and isinstance(digest, str) else None


def digest_of(path: Path) -> str:
    """SHA-256 of a file: remembered, or computed and remembered.

    Raises:
      DataError: it cannot be read.
    """
    known = remembered_digest(path)
    if known is not None:
        return known
    before = _identity(path)
    digest = file_digest(path)
    if time.time() - before["mtime_ns"] / 1e9 > _SETTLED and before == _identity(path):
        with contextlib.suppress(OutputError):  # then it is computed again next time
            storage.write_json(_note(path), before | {"sha256": digest})
    return digest


def _identity(path: Path) -> dict[str, Any]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    return {
        "path": os.path.abspath(path),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "inode": found.st_ino,
    }


def _note(path: Path) -> Path:
    key = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]
    return cache_folder() / "digests" / f"{key}.json"
