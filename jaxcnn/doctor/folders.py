"""Checks of the cache folders, and where data sets are found."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcnn.data.cache import cache_folder, entries
from jaxcnn.data.idx import find_idx
from jaxcnn.data.known import KNOWN
from jaxcnn.data.load import usual_places
from jaxcnn.data.tfds import find_prepared
from jaxcnn.doctor.finding import Finding

MIB = 2**20

LITTLE_SPACE = 512 * MIB
"""Free space, in bytes, that a run, its checkpoints and a decoded data set may well need."""


class Folder(NamedTuple):
    """What is to be known of a folder.

    Attributes:
      path: where it is, or would be made.
      exists: whether it is there, as a folder.
      writable: whether this process may write to it, or make it.
      owner: user number of its owner; None if it is not there.
      others: whether others than its owner may write to it.
      free: bytes free on its file system.
      files: in it, and bytes of them; those of the compile cache only.
    """

    path: Path
    exists: bool
    writable: bool
    owner: int | None
    others: bool
    free: float
    files: tuple[int, int] | None = None


def look(path: Path, pattern: str | None = None) -> Folder:
    """Looks at a folder; with a `pattern`, also at the files that match it."""
    above = path
    # `os.path` says no where `Path` raises: below a folder that one may not enter.
    while not os.path.exists(above) and above != above.parent:
        above = above.parent
    space = os.statvfs(above)
    free = float(space.f_bavail * space.f_frsize)
    if not os.path.isdir(path):
        writable = not os.path.exists(path) and os.access(above, os.W_OK | os.X_OK)
        return Folder(path, False, writable, None, False, free)
    status = path.stat()
    others = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    writable = os.access(path, os.W_OK | os.X_OK)
    files = None
    if pattern is not None:
        sizes = [file.stat().st_size for file in path.glob(pattern)]
        files = len(sizes), sum(sizes)
    return Folder(path, True, writable, status.st_uid, others, free, files)


def places(environment: Mapping[str, str]) -> dict[str, Folder]:
    """The folders that jaxcnn keeps things in, by what they hold."""
    compiled = environment.get("JAX_COMPILATION_CACHE_DIR")
    return {
        "cache": look(cache_folder()),
        "compiled": look(Path(compiled) if compiled else cache_folder() / "compiled", "*-cache"),
    }


def folder(what: str, seen: Folder, user: int) -> Finding:
    """Whether a cache folder can be used, and only by its owner.

    Args:
      what: it holds.
      seen: as `look` gives it.
      user: our own number.
    """
    path = seen.path
    if not seen.exists:
        if seen.writable:
            return Finding("ok", what, f"{path} will be made")
        return Finding(
            "warning",
            what,
            f"{path} cannot be made: nothing is cached; set JAXCNN_CACHE_DIR to a folder of yours",
        )
    if seen.owner != user:
        return Finding(
            "error",
            what,
            f"{path} belongs to user {seen.owner}, not to you ({user}): set JAXCNN_CACHE_DIR to a "
            "folder of yours",
        )
    if seen.others:
        return Finding(
            "error",
            what,
            f"others may write to {path}, and what is in it is trusted: chmod go-w {path}",
        )
    if not seen.writable:
        return Finding(
            "warning", what, f"{path} cannot be written: nothing new is cached; chmod u+rwx {path}"
        )
    if seen.free < LITTLE_SPACE:
        return Finding(
            "warning", what, f"{path}: only {seen.free / MIB:.0f} MiB free; delete what you can"
        )
    held = ""
    if seen.files is not None:
        number, size = seen.files
        held = f": {number} programs, {size / MIB:.1f} MiB"
    return Finding("ok", what, f"{path}{held}")


def find_data(data_dir: Path | None) -> dict[str, list[str]]:
    """Where each known data set is, without reading it.

    Args:
      data_dir: the only folder to look in; None: the cache and the usual places.
    """
    found: dict[str, list[str]] = {}
    for name, known in KNOWN.items():
        where = [] if data_dir else [f"decoded in {entry}" for entry in entries(name)]
        for place in [data_dir] if data_dir else usual_places():
            if not os.path.isdir(place):
                continue
            prepared = find_prepared(place, name)
            if prepared is not None:
                where.append(f"prepared in {prepared}")
            elif known.idx and find_idx(place) is not None:
                where.append(f"as IDX files in {place}")
        found[name] = where
    return found


def data(
    found: Mapping[str, Sequence[str]], data_dir: Path | None, readable: bool
) -> list[Finding]:
    """Which data sets can be trained on.

    Args:
      found: as `find_data` gives it.
      data_dir: the folder that was asked for.
      readable: whether that is a folder that can be read.
    """
    if data_dir is not None and not readable:
        return [Finding("error", "data", f"{data_dir} is no folder that can be read: check it")]
    findings = [
        Finding("ok", f"data {name}", "; ".join(where)) for name, where in found.items() if where
    ]
    missing = [name for name, where in found.items() if not where]
    if "mnist" in missing:
        where = str(data_dir or "the usual places")
        findings.append(
            Finding(
                "warning",
                "data mnist",
                f"not in {where}: `make train-lenet` tries to download it, and else takes the "
                "embedded digits; pass DATA_DIR=folder if you have it",
            )
        )
    return findings
