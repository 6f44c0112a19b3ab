"""Pages whose code runs.

A block that is fenced as `python` is code. What it prints stands in a block fenced as `text`,
after one empty line; a block without one prints nothing. The blocks of a page run in order and
share their names. Pictures that they save are the pictures that the page shows.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
IMAGES = FOLDER / "images"
RUN = sorted((FOLDER / "decks").glob("*.md"))
"""The pages of which every block is run."""

_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]*)\)")


class Block(NamedTuple):
    """One block of code."""

    line: int  # of its first line, counted from 1
    code: str
    printed: str  # what the page says it prints


def blocks(text: str) -> list[Block]:
    """The blocks of code of a page, in order."""
    return [
        Block(text.count("\n", 0, found.start()) + 2, found[1], found[2] or "")
        for found in _BLOCK.finditer(text)
    ]


def pictures(text: str) -> list[str]:
    """The pictures that a page shows, as it names them."""
    return _PICTURE.findall(text)


def run(page: Path, folder: Path) -> list[tuple[Block, str]]:
    """Runs a page in `folder`, where it leaves its pictures; each block with what it printed."""
    text = page.read_text()
    names: dict[str, Any] = {"__name__": page.stem}
    done = []
    with contextlib.chdir(folder):
        for block in blocks(text):
            printed = io.StringIO()
            # Empty lines in front, so that an error names the line of the page.
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, names)  # noqa: S102  (the project's own pages)
            done.append((block, printed.getvalue()))
    return done
