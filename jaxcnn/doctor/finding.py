"""What a check found: one line for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "error"]


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
      level: "error" for what makes a training fail, or use another device than one would think;
        "warning" for what makes it slower, or its results others than elsewhere.
      subject: what was looked at.
      text: what is there and, after a colon, what to do about it.
    """

    level: Level
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject:<14} {self.text}"


def status(findings: Sequence[Finding]) -> int:
    """The exit status: 1 if there is an error."""
    return int(any(finding.level == "error" for finding in findings))


def summary(findings: Sequence[Finding]) -> str:
    """How many findings of each level, such as "12 ok, 1 warning, 0 errors"."""
    count = dict.fromkeys(("ok", "warning", "error"), 0)
    for finding in findings:
        count[finding.level] += 1
    plural = {level: "" if number == 1 else "s" for level, number in count.items()}
    return (
        f"{count['ok']} ok, {count['warning']} warning{plural['warning']}, "
        f"{count['error']} error{plural['error']}"
    )
