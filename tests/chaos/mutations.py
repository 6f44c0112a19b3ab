"""Ways to damage a file: what disks do, and what people do."""

from __future__ import annotations

import re
import struct

import numpy as np

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_TOKENS = (
    *(b"-1", b"0", b"1.5", b"1e999", b"NaN", b"Infinity", b"9" * 40, b"9" * 5_000, b"null"),
    *(b"true", b"[]", b"{}", b'""', b'"../../x"', b'"/etc/passwd"', b'"\\ud800"', b'"\\u0000"'),
    *(b"[" * 200 + b"]" * 200, b'{"a":1,"a":2}', b'"\xd0\xb0"', b'"float64"', b"[0]", b"[2,-1]"),
)
_TOKEN = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null')


def mutate(content: bytes, rng: np.random.Generator, *, text: bool) -> bytes:
    """`content` with one to three kinds of damage; texts also get other tokens."""
    for _ in range(int(rng.integers(1, 4))):
        kinds = [*_KINDS, _token, _token] if text else _KINDS
        content = kinds[int(rng.integers(len(kinds)))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """Anywhere, but as often in the first 64 bytes: headers are where the sizes are."""
    span = min(len(content), 64) if rng.random() < 0.5 else len(content)
    return int(rng.integers(span + 1))


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        place = _place(content, rng)
        if place < len(made):
            made[place] ^= 1 << int(rng.integers(8))
    return bytes(made)


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _extend(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 40)))


def _number(content: bytes, rng: np.random.Generator) -> bytes:
    width = int(rng.choice([1, 2, 4, 8]))
    value = _EXTREMES[int(rng.integers(len(_EXTREMES)))] & ((1 << 8 * width) - 1)
    packed = struct.pack(
        "<>"[int(rng.integers(2))] + {1: "B", 2: "H", 4: "I", 8: "Q"}[width], value
    )
    place = _place(content, rng)
    return content[:place] + packed + content[place + width :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(content, rng)
    return content[:place] + content[place + int(rng.integers(1, 30)) :]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    place, size = _place(content, rng), int(rng.integers(1, 60))
    return content[: place + size] + content[place : place + size] + content[place + size :]


def _move(content: bytes, rng: np.random.Generator) -> bytes:
    start, place, size = _place(content, rng), _place(content, rng), int(rng.integers(1, 30))
    part = content[start : start + size]
    return content[:place] + part + content[place + len(part) :]


def _zeros(content: bytes, rng: np.random.Generator) -> bytes:
    place, size = _place(content, rng), int(rng.integers(1, 80))
    part = content[place : place + size]
    return content[:place] + bytes(len(part)) + content[place + len(part) :]


def _token(content: bytes, rng: np.random.Generator) -> bytes:
    """Another JSON value or name in place of one that is there."""
    found = list(_TOKEN.finditer(content))
    if not found:
        return content
    old = found[int(rng.integers(len(found)))]
    choice = int(rng.integers(len(_TOKENS) + 3))
    other = found[int(rng.integers(len(found)))][0]
    new = _TOKENS[choice] if choice < len(_TOKENS) else other
    return content[: old.start()] + new + content[old.end() :]


_KINDS = (_flip, _flip, _truncate, _extend, _number, _number, _cut, _repeat, _move, _zeros)
