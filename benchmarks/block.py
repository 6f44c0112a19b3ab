"""Tables in pages: text between two marked lines, which a command replaces."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmarks.results import BenchmarkError
from jaxcnn import storage


@dataclasses.dataclass(frozen=True)
class Block:
    """A marked place in a page.

    Attributes:
      name: stands in both marks, which readers of the page do not see.
    """

    name: str

    @property
    def begin(self) -> str:
        """The line before the text."""
        return f"<!-- {self.name}:begin -->"

    @property
    def end(self) -> str:
        """The line after it."""
        return f"<!-- {self.name}:end -->"

    def replace(self, page: str, text: str, where: str) -> str:
        """Puts `text` between the two lines of `page`.

        Raises:
          BenchmarkError: there is not exactly one such pair of lines, in this order; `where` names
            the page.
        """
        lines = page.splitlines()
        begin, end = self.begin, self.end
        once = lines.count(begin) == lines.count(end) == 1
        if not once or lines.index(begin) > lines.index(end):
            raise BenchmarkError(
                f"{where} must have one line {begin} and, after it, one line {end}.\n"
                "Add both lines where the table shall stand."
            )
        before, after = lines[: lines.index(begin) + 1], lines[lines.index(end) :]
        return "\n".join([*before, text.strip("\n"), *after]) + "\n"

    def update(self, path: Path, text: str) -> None:
        """Replaces the text in a file, atomically. Raises as `replace`."""
        page = self.replace(path.read_text(encoding="utf-8"), text, path.name)
        storage.write_bytes(path, page.encode())
