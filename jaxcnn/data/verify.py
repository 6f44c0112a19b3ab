"""Checking a data set in full: every file is hashed again and decoded again.

`load` trusts a digest that it remembers, and decoded arrays that match their own digests. This
finds what that cannot: a file whose bits changed while size and time stayed the same.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Literal

from jaxcnn.data import cache, digests
from jaxcnn.data.known import KNOWN
from jaxcnn.data.load import decode, find, usual_places
from jaxcnn.data.prepared import Prepared
from jaxcnn.errors import ConfigError, DataError, DataUnavailableError

State = Literal["as published", "as before", "first seen", "damaged"]


@dataclasses.dataclass(frozen=True)
class Checked:
    """One thing that was checked.

    Attributes:
      path: a file, the folder of a data set, or an entry of the decoded cache.
      state: "as published" matches a pinned digest; "as before" has the digest it had when it
        was last read; "first seen" could be held against nothing; "damaged" is none of these.
      detail: SHA-256 of a file; otherwise what was compared, or what is wrong.
    """

    path: Path
    state: State
    detail: str


@dataclasses.dataclass(frozen=True)
class Verification:
    """What `verify` found; `str()` gives a line for each thing checked."""

    name: str
    checked: tuple[Checked, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return all(each.state != "damaged" for each in self.checked)

    def __str__(self) -> str:
        return "\n".join(f"{each.state:<12}  {each.path}  {each.detail}" for each in self.checked)


def verify(name: str, *, data_dir: str | os.PathLike[str] | None = None) -> Verification:
    """Hashes and decodes a published data set again wherever it is found, and its decoded cache.

    Args:
      name: "mnist", "fashion_mnist", "kmnist" or "cifar10".
      data_dir: the folder to look in; None for the usual places and the cache.

    Returns:
      What was checked. Damage is reported, not raised.

    Raises:
      ConfigError: the name is not that of a published data set.
      DataUnavailableError: there is nothing to check.
    """
    if name not in KNOWN:
        raise ConfigError(f"data set {name!r} cannot be verified: use one of {', '.join(KNOWN)}.")
    places = usual_places() if data_dir is None else [Path(data_dir).expanduser()]
    checked = [each for place in places for each in _place(name, place)]
    if data_dir is None:
        checked += [_entry(name, entry) for entry in cache.entries(name)]
    if not checked:
        raise DataUnavailableError(
            f"{name} is in none of the places looked at: {', '.join(map(str, places))}."
        )
    return Verification(name, tuple(checked))


def _place(name: str, place: Path) -> list[Checked]:
    known = KNOWN[name]
    checked: list[Checked] = []
    try:
        found = find(known, place)
        if found is None:
            return []
        source, folder = found
        files = source.files if isinstance(source, Prepared) else source
        hashed = {}
        for path in files:
            hashed[path.name] = digest = digests.file_digest(path)
            before = digests.remembered_digest(path)
            if before not in (None, digest):
                problem = f"its SHA-256 was {before}, is {digest}; size and time are unchanged"
                checked.append(Checked(path, "damaged", problem))
            else:
                checked.append(Checked(path, "as before" if before else "first seen", digest))
        pinned = known.check_files(folder, hashed)
        decode(known, source, folder)
    except DataError as error:
        return [*checked, Checked(place, "damaged", str(error))]
    count = f"{known.train:,} + {known.test:,} examples decoded"
    return [*checked, Checked(folder, "as published" if pinned else "first seen", count)]


def _entry(name: str, entry: Path) -> Checked:
    known = KNOWN[name]
    try:
        known.check(cache.read(entry))
    except DataError as error:
        return Checked(entry, "damaged", str(error))
    state: State = "as published" if known.content is not None else "as before"
    return Checked(entry, state, "decoded arrays match their SHA-256")
