"""Docstrings as Markdown: they are written to be read in an editor and by `help()`.

Markdown would take the prompt of an example for a quotation, three deep, and a list that has no
empty line before it for a part of the sentence.
"""

from __future__ import annotations

import re

_ITEM = re.compile(r"(- |\d+\. )")


def readable(text: str) -> str:
    """`text` with examples fenced as `pycon` and an empty line before every list."""
    lines: list[str] = []
    fence = ""  # the indentation of the example that is open
    inside = False
    for line in text.split("\n"):
        bare = line.lstrip()
        indent = line[: len(line) - len(bare)]
        if not inside and bare.startswith(">>> "):
            inside, fence = True, indent
            if lines and lines[-1].strip():
                lines.append("")
            lines.append(f"{fence}```pycon")
        elif inside and not bare:
            inside = False
            lines.append(f"{fence}```")
        elif not inside and _ITEM.match(bare) and _starts_list(lines, indent):
            lines.append("")
        lines.append(line)
    if inside:
        lines.append(f"{fence}```")
    return "\n".join(lines)


def _starts_list(lines: list[str], indent: str) -> bool:
    """Whether an item with this indentation follows a line of text, not an item of its list."""
    if not lines or not lines[-1].strip():
        return False
    for line in reversed(lines):
        bare = line.lstrip()
        if not bare:
            return True
        if _ITEM.match(bare):
            return False
        if len(line) - len(bare) < len(indent):
            return True  # text to the left of the list: its heading
    return True
