"""Writing files so that a reader sees the old content or the new, never a part.

Everything that jaxcnn writes goes through here: to a temporary sibling, flushed to the
disk, renamed into place.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import OutputError


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, making its folder if need be.

    Raises:
      OutputError: the folder or file cannot be written; names it.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)  # mkstemp's 0600 would hide the file from a lab's other users
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Appends one line to a log."""
    with _explained(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Makes the folder `path` all at once: yields a temporary sibling, renames it at the end.

    If the body raises, nothing is left. If `path` exists already, the new one replaces it.
    """
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            for file in temporary.rglob("*"):
                _sync(file)
            _sync(temporary)
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
                os.replace(path, old / "old")
                os.replace(temporary, path)
                shutil.rmtree(old)
            else:
                os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder: a rename is durable only after that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}.\n"
            "Choose a folder that you may write to, with space left."
        ) from error
