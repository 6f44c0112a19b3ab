"""One process at a time: a lock file that the death of its holder unlocks.

The lock is the operating system's (`flock`), which goes with the process, however it ends; the
file's content only says who holds it. So nothing has to be cleaned up after a kill.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxcnn import disk
from jaxcnn.errors import DataError, LockedError, OutputError
from jaxcnn.untrusted import read_json

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def hold(file: Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Within it, no other process can hold the lock `file`; afterwards the file is gone.

    Args:
      file: the lock file, in a folder that exists.
      say: told where the file system has no locks, so that none is held.

    Raises:
      LockedError: another process holds it; names its id, host and start.
      OutputError: the file cannot be written.
    """
    try:
        handle = _take(file)
    except LockedError:
        raise
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise OutputError(
                f"cannot write {file}: {error.strerror or error}.\n"
                "Choose a folder that you may write to, with space left."
            ) from error
        say(f"{file}: the file system has no locks; start no second process on this folder.")
        handle = None
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):  # a file that stays is taken over by the next holder
                disk.unlink(file)
            disk.close(handle)


def _take(file: Path) -> int:
    """Locks the file and writes who we are into it."""
    while True:
        handle = disk.open_file(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(handle, file):
                disk.truncate(handle, 0)
                us = {"pid": os.getpid(), "host": platform.node(), "started": time.strftime("%c")}
                disk.write(handle, json.dumps(us).encode())
                return handle
        except BlockingIOError as error:
            disk.close(handle)
            raise LockedError(
                f"{file.parent}: is in use by {_holder(file)}.\n"
                "Wait for it or end it, or start a run of your own."
            ) from error
        except BaseException:
            disk.close(handle)
            raise
        disk.close(handle)  # its last holder deleted the file in between: lock the new one


def _is(handle: int, file: Path) -> bool:
    """Whether `file` still is the one that was opened."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    try:
        holder = read_json(file, error=DataError)
        return f"process {holder['pid']} on {holder['host']} since {holder['started']}"
    except (DataError, KeyError):  # it is just being written
        return "another process"
