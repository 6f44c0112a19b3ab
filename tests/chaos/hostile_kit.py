"""What hostile files are made of: a case, a payload, ways to take a file's place."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANARY = "canary"  # what a file that got its way would leave behind
DEEP = 100_000


class Boom:
    """Makes a file if it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {CANARY}",)


PICKLE = pickle.dumps(Boom())


@dataclasses.dataclass(frozen=True)
class Hostile:
    """A file: `make` is given the honest one, in a folder of its own, and spoils it.

    `words` is a pattern in the error that must come of it.
    """

    name: str
    format: str
    make: Callable[[Path], Any]
    words: str


class Cases(list[Hostile]):
    """A list that is added to by fields."""

    def add(self, name: str, kind: str, make: Callable[[Path], Any], words: str) -> None:
        self.append(Hostile(name, kind, make, words))


def content(made: bytes | str) -> Callable[[Path], Any]:
    """Replaces the file's content."""
    return lambda path: path.write_bytes(made.encode() if isinstance(made, str) else made)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def outside(path: Path) -> None:
    other = path.parent.parent.parent / f"outside-{path.name}"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
