"""JSON and other text, of bounded size and depth.

`json.loads` alone takes the last of two equal keys (so that two readers may see different
values), accepts NaN, and exhausts the stack or the memory on a few well-chosen megabytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from jaxcnn.errors import JaxcnnError
from jaxcnn.untrusted.files import read_bytes

MOST_BYTES = 8 << 20
MOST_VALUES = 250_000  # a value takes up to 100 bytes of memory and as little as 2 of text
MOST_DEPTH = 32

# A string, up to the end of the text where it is not closed, or a bracket. Possessive, so that
# time stays in proportion to length.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """JSON that `json` would accept."""


def read_text(path: Path, *, most: int = MOST_BYTES, error: type[JaxcnnError]) -> str:
    """The content of a text file, which must not be a link.

    Raises:
      error: it cannot be read, is too large, or is not UTF-8.
    """
    try:
        return read_bytes(path, most=most, error=error, follow=False).decode()
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 text: {problem.reason} at byte {problem.start}.") from None


def read_json(path: Path, *, error: type[JaxcnnError]) -> dict[str, Any]:
    """The object in a JSON file of at most 8 MiB, which must not be a link.

    Raises:
      error: it cannot be read, or `parse_json` refuses it.
    """
    return parse_json(read_text(path, error=error), path, error=error)


Kind = TypeVar("Kind")


def field(
    table: Mapping[str, Any],
    name: str,
    kind: type[Kind],
    where: object,
    *,
    error: type[JaxcnnError],
) -> Kind:
    """The value of a key that has to be there, and of this very type: a bool is no int.

    Raises:
      error: it is not; `where` names the file.
    """
    value = table.get(name)
    if type(value) is not kind:
        raise error(f"{where}: {name!r} is {repr(value)[:60]}, expected {kind.__name__}.")
    return value


def parse_json(text: str, where: object, *, error: type[JaxcnnError]) -> dict[str, Any]:
    """The object that a JSON text holds.

    Args:
      text: at most 8 Mi characters, 250,000 values and 32 levels.
      where: the file, for messages.
      error: class of the errors.

    Raises:
      error: the text is larger, is no JSON or no object, has a key twice, half a UTF-16 pair, or
        a number that is not finite.
    """
    try:
        _check_size(text)
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_float=_finite,
            parse_constant=_not_finite,
        )
        if _SURROGATE.search(text):  # it may be half a pair, which no file name or log can hold
            json.dumps(value, ensure_ascii=False).encode()
    except ValueError as problem:  # JSONDecodeError, UnicodeEncodeError, digits of an int, ours
        raise error(f"{where}: not usable JSON: {_short(problem)}.") from problem
    if not isinstance(value, dict):
        raise error(f"{where}: not usable JSON: expected an object, got {type(value).__name__}.")
    return value


def _check_size(text: str) -> None:
    if len(text) > MOST_BYTES:
        raise _RefusedError(f"{len(text)} characters, expected at most {MOST_BYTES}")
    opening = text.count("[") + text.count("{")
    values = opening + text.count(",")  # or more than there are, counting those in strings
    if values > MOST_VALUES:
        raise _RefusedError(f"up to {values} values, expected at most {MOST_VALUES}")
    if opening <= MOST_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth > MOST_DEPTH:
                raise _RefusedError(f"nested deeper than {MOST_DEPTH} levels at {token.start()}")
        elif token[0] in ("]", "}"):
            depth -= 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise _RefusedError(f"the key {twice[:80]!r} stands twice")
    return made


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {digits[:80]} is not finite")
    return value


def _not_finite(name: str) -> NoReturn:
    raise _RefusedError(f"the number {name} is not finite")


def _short(problem: ValueError) -> str:
    return str(problem).partition("\n")[0][:200]
