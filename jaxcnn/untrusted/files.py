"""A file's bytes, if it is a plain file of an allowed size."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from jaxcnn.errors import JaxcnnError


@contextmanager
def open_plain(
    path: Path, *, most: int, error: type[JaxcnnError], follow: bool = True
) -> Iterator[tuple[BufferedReader, int]]:
    """Opens a plain file; yields it with its size.

    A pipe, a device or a folder is refused: some never end, others never begin.

    Args:
      path: the file.
      most: bytes it may have.
      error: class of the errors.
      follow: whether the file may be a link. For a file beside others, as in a checkpoint, the
        link would be part of what was given, and might lead anywhere.

    Raises:
      error: the file is missing, unreadable, not a plain one or too large.
    """
    # Without O_NONBLOCK opening a pipe waits for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError) as problem:  # a NUL in the name is a ValueError
        if not follow and os.path.islink(path):  # `Path.is_symlink` raises in a closed folder
            raise error(
                f"{path}: cannot be read: a link, expected a plain file.\n"
                "Put a copy of the file in its place."
            ) from problem
        raise error(f"{path}: cannot be read: {_reason(problem)}.") from problem
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise error(f"{path}: cannot be read: not a plain file.")
    with os.fdopen(handle, "rb") as file:
        if found.st_size > most:
            raise error(f"{path}: {found.st_size} bytes, expected at most {most}: too large.")
        yield file, found.st_size


def read_bytes(path: Path, *, most: int, error: type[JaxcnnError], follow: bool = True) -> bytes:
    """The content of a plain file of at most `most` bytes.

    Raises:
      error: as `open_plain`, or reading fails.
    """
    with open_plain(path, most=most, error=error, follow=follow) as (file, size):
        try:
            return file.read(size)  # no more than was there, should it grow
        except OSError as problem:
            raise error(f"{path}: cannot be read: {_reason(problem)}.") from problem


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
