"""Hostile checkpoints and cache entries, whose manifests vouch for them: arrays and archives."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.hostile_kit import PICKLE, Cases, content, outside, pipe, sparse
from tests.chaos.reader_formats import npy_bytes, seal_checkpoint, seal_entry, tree

CASES = Cases()

# Archives of a checkpoint, whose manifest vouches for them: whoever made one made the other.


def _sealed(content: bytes) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        path.write_bytes(content)
        seal_checkpoint(path)

    return make


def archive(*members: tuple[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"") -> bytes:
    """A .npy file with any header."""
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + data
    )


def claim(shape: str, descr: str = "<f8") -> bytes:
    return npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", bytes(32))


def _objects() -> bytes:
    return npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", PICKLE)


def _overlapping() -> bytes:
    """Three members of a directory that are one and the same part of the file."""
    whole = archive(("tree/fc/bias.npy", npy_bytes(np.zeros(6))))
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry, tail = whole[start:end], bytearray(whole[end:])
    tail[8:12] = struct.pack("<HH", 3, 3)
    tail[12:16] = struct.pack("<L", 3 * len(entry))
    return whole[:start] + 3 * entry + bytes(tail)


def _encrypted() -> bytes:
    made = bytearray(archive(("tree/fc/bias.npy", npy_bytes(np.zeros(6)))))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[made.index(signature) + offset] |= 1
    return bytes(made)


def _named(name: str) -> bytes:
    return archive((f"{name}.npy", npy_bytes(tree()["fc"]["bias"])))


for _name, _bytes, _words in (
    ("pickle in npz", archive(("tree/fc/bias.npy", _objects())), "objects are never opened"),
    ("bare pickle as npz", PICKLE, "not a .npz file"),
    ("npy of objects as npz", _objects(), "not a .npz file"),
    ("zero length npz", b"", "not a .npz file"),
    (
        "zip bomb",
        archive(("tree/fc/bias.npy", bytes(8 << 20)), compress=zipfile.ZIP_DEFLATED),
        "compressed or encrypted",
    ),
    ("128 bytes that claim 32 GiB", archive(("a.npy", claim("(4294967296,)"))), "damaged"),
    (
        "an array beyond 64 bits",
        archive(("a.npy", claim("(999999999999999999,) "))),
        "not the header",
    ),
    (
        "a product beyond 64 bits",
        archive(("a.npy", claim("(9999999999999, 9999999999999)"))),
        "dama",
    ),
    ("a negative size", archive(("a.npy", claim("(-1,)"))), "not the header"),
    ("a zip in a zip", archive(("a.npy", archive(("b.npy", PICKLE)))), "not a .npy file"),
    ("overlapping members", _overlapping(), "expected each member once"),
    ("an encrypted member", _encrypted(), "compressed or encrypted"),
    ("a member named ../../evil", _named("../../evil"), "holds no"),
    ("a member with an absolute name", _named("/etc/evil"), "holds no"),
    ("a member with NUL in its name", _named("tree/fc/bias\x00x"), "expected each member once"),
    ("a member named in Cyrillic", _named("tree/fc/bi\u0430s"), "holds no"),
    ("400 members", archive(*((f"{i}.npy", b"") for i in range(400))), "400 members"),
    ("a comment", archive(("a.npy", b""))[:-2] + b"\x03\x00abc", "not a .npz file"),
    ("trailing bytes", _named("tree/fc/bias") + b"tail", "not a .npz file"),
    (
        "code as a header",
        archive(("a.npy", npy("__import__('os').system('id')"))),
        "not the header",
    ),
    ("a header of brackets", archive(("a.npy", npy("(" * 9_000 + ")" * 900))), "not the header"),
    ("a header of 60 kB", archive(("a.npy", npy(" " * 60_000))), "a header of"),
    ("a dtype of records", archive(("a.npy", claim("(4,)", "|V8"))), "expected numbers"),
    ("a dtype that is none", archive(("a.npy", claim("(4,)", "<f7"))), "unknown"),
):
    _small = len(_bytes) < 12_000
    CASES.add(
        _name,
        "checkpoint" if _small else "npz",
        _sealed(_bytes) if _small else content(_bytes),
        _words,
    )


CASES.add("a checkpoint of 1 TiB", "checkpoint", sparse, "too large")
CASES.add("a checkpoint that is a link", "checkpoint", outside, "a link, expected a plain file")
CASES.add("a checkpoint that is a pipe", "checkpoint", pipe, "not a plain file")


# Decoded arrays of the cache, sealed.


def _entry(content: bytes) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        path.write_bytes(content)
        seal_entry(path)

    return make


def _labels(value: int) -> bytes:
    return npy_bytes(np.full(30, value, np.int32))


for _name, _bytes, _words in (
    ("objects in the cache", _objects(), "objects are never opened"),
    ("a cached array that claims 32 GiB", claim("(65536, 65536)"), "takes 34359738368 bytes"),
    ("label -1 in the cache", _labels(-1), "label -1 of example 0 is outside 0 .. 9"),
    ("label 10 of 10 in the cache", _labels(10), "label 10 of example 0 is outside 0 .. 9"),
    ("labels of floats", npy_bytes(np.zeros(30)), "expected int32"),
    ("fewer labels than images", npy_bytes(np.zeros(29, np.int32)), "30 images and 29 labels"),
):
    CASES.add(_name, "cache", _entry(_bytes), _words)
