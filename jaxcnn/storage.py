"""Writing files so that a reader sees the old content or the new, never a part.

What is written goes to a temporary sibling, is flushed to the disk and renamed into place; a
rename is durable once its folder has been flushed as well. A process that dies on the way leaves
its temporary, which `tidy` deletes: `.NAME.0123abcd.new`. A folder that is being replaced is
`.NAME.old` for a moment, and `standing` finds it there.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxcnn import disk
from jaxcnn.errors import OutputError

_NEW, _OLD = ".new", ".old"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically, making its folder if need be.

    Raises:
      OutputError: the folder or file cannot be written; names it.
    """
    with _explained(path):
        _make_folders(path.parent)
        temporary = _temporary(path)
        try:
            write_new(temporary, content)
            disk.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # else `tidy` takes it away
                disk.unlink(temporary)
            raise
        _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically. NaN and infinity are refused."""
    write_bytes(path, as_json(value))


def as_json(value: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def write_new(path: Path, content: bytes) -> None:
    """Writes a file that is not there yet, in place: for a folder that `new_folder` lends.

    Raises:
      OSError: it exists already, or cannot be written.
    """
    _write(path, os.O_EXCL, content)


def append_line(path: Path, line: str) -> None:
    """Appends one line to a log. It is on the disk for certain after `flush`."""
    with _explained(path):
        _write(path, os.O_APPEND, (line + "\n").encode(), flushed=False)


def flush(path: Path) -> None:
    """Waits until what was written to a file is on the disk."""
    with _explained(path):
        _sync(path)


@contextmanager
def new_folder(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Makes the folder `path` all at once: yields a temporary sibling, renames it at the end.

    If the body raises, nothing is left. If `path` exists already, the new one replaces it: at
    every moment `standing(path)` is one of the two, complete.

    Args:
      path: the folder.
      replace: False: a folder that exists already is an error.

    Raises:
      OutputError: it cannot be written.
      FileExistsError: it is there and not to be replaced.
    """
    with _explained(path):
        _make_folders(path.parent)
        temporary = _temporary(path)
        disk.mkdir(temporary)
        try:
            yield temporary
            for file in temporary.rglob("*"):
                _sync(file)
            _sync(temporary)
            if replace:
                _put(temporary, path)
            else:
                _claim(temporary, path)
        except BaseException:
            with suppress(OSError):  # else `tidy` takes it away
                _delete(temporary)
            raise


def standing(path: Path) -> Path:
    """Where the content of the folder `path` is: there, or aside while it is being replaced."""
    old = _aside(path)
    return old if old.exists() and not path.exists() else path


def standing_in(folder: Path) -> list[Path]:
    """The folders below `folder` for which there is content, by name."""
    aside = {file.with_name(_name(file)) for file in folder.glob(f".*{_OLD}")}
    here = {file for file in folder.glob("*") if not file.name.startswith(".")}
    return sorted(aside | here)


def delete_folder(path: Path) -> None:
    """Deletes a folder: it is gone at once, whole, and then its files are.

    Raises:
      OutputError: it cannot be deleted.
    """
    with _explained(path):
        temporary = _temporary(path)
        disk.replace(standing(path), temporary)
        _sync(path.parent)
        _delete(temporary)


def tidy(folder: Path) -> None:
    """Takes away what processes that died while they wrote below `folder` have left.

    Only for a folder that no other process writes to.

    Raises:
      OutputError: something cannot be deleted.
    """
    with _explained(folder):
        for file in sorted(folder.glob(f".*{_OLD}")):
            path = file.with_name(_name(file))
            if path.exists():
                _delete(file)
            else:
                disk.replace(file, path)
        for file in sorted(folder.glob(f".*{_NEW}")):
            _delete(file)


def _claim(temporary: Path, path: Path) -> None:
    """Renames a folder into place unless there is one; only one of several processes succeeds."""
    try:
        disk.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, "there is one already", str(path)) from error
        raise
    _sync(path.parent)


def _put(temporary: Path, path: Path) -> None:
    """Renames a folder into place; what was there steps aside until the new one is safe."""
    old = _aside(path)
    if path.exists():
        if old.exists():
            _delete(old)
        disk.replace(path, old)
    try:
        disk.replace(temporary, path)
    except BaseException:
        if old.exists():
            with suppress(OSError):  # else `standing` still finds it
                disk.replace(old, path)
        raise
    _sync(path.parent)
    if old.exists():
        _delete(old)


def _write(path: Path, flags: int, content: bytes, *, flushed: bool = True) -> None:
    handle = disk.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o666)
    try:
        # Views are closed here, also on errors: Python 3.12.1 crashes on collecting one in a cycle.
        with memoryview(content) as whole:
            done = 0
            while done < len(whole):
                with whole[done:] as left:
                    done += disk.write(handle, left)
        if flushed:
            disk.sync(handle)
    except BaseException:
        with suppress(OSError):
            disk.close(handle)
        raise
    disk.close(handle)


def _make_folders(path: Path) -> None:
    """Makes a folder and those above it, each known to the one above once it returns."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process was faster
            disk.mkdir(folder)
        _sync(folder.parent)


def _delete(path: Path) -> None:
    """Deletes a file, or a folder and all below it. Links are not followed."""
    if path.is_symlink() or not path.is_dir():
        disk.unlink(path)
        return
    for file in sorted(path.iterdir()):
        _delete(file)
    disk.rmdir(path)


def _sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder: a rename is durable only after that."""
    handle = disk.open_file(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.sync(handle)
    finally:
        disk.close(handle)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_NEW}")


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_OLD}")


def _name(aside: Path) -> str:
    return aside.name.removeprefix(".").removesuffix(_OLD)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OutputError, FileExistsError):
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}.\n"
            "Choose a folder that you may write to, with space left."
        ) from error
