"""Hostile JSON: manifests, settings, logs, headers of safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.hostile_kit import DEEP, PICKLE, Cases, content, outside
from tests.chaos.reader_formats import seal_checkpoint

CASES = Cases()

# JSON: manifests, settings, logs.


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    """Changes the manifest and seals it again."""

    def make(path: Path) -> None:
        manifest = json.loads(path.read_bytes())
        change(manifest)
        path.write_text(json.dumps(manifest))
        seal_checkpoint(path)

    return make


def _twice(path: Path) -> None:
    """Puts the first key before itself, with another value."""
    text = path.read_text().strip()
    key = text.split('"')[1]
    path.write_text(f'{{"{key}": 9, {text[1:]}')


for _name, _kind, _make, _words in (
    ("a manifest with a key twice", "manifest", _twice, "stands twice"),
    ("a manifest nested 10^5 deep", "manifest", content("[" * DEEP + "]" * DEEP), "nested deeper"),
    (
        "objects nested 10^5 deep",
        "manifest",
        content('{"a":' * DEEP + "1" + "}" * DEEP),
        "nested deep",
    ),
    (
        "a string that never ends",
        "manifest",
        content('{"a": "' + '\\"' * 200_000),
        "not usable JSON",
    ),
    ("9 MiB of brackets", "manifest", content("[]," * (3 << 20)), "too large"),
    ("a million values", "manifest", content("[" + "0," * 1_000_000 + "0]"), "values, expected"),
    ("NaN in a manifest", "manifest", content('{"format": NaN}'), "not finite"),
    ("1e999 in a manifest", "manifest", content('{"format": 1e999}'), "not finite"),
    ("an int of 10^5 digits", "manifest", content('{"format": ' + "9" * 100_000 + "}"), "JSON"),
    ("half a UTF-16 pair", "manifest", content('{"format": "\\ud800"}'), "surrogates"),
    ("a manifest in UTF-16", "manifest", content('{"format": 1}'.encode("utf-16")), "not UTF-8"),
    ("a manifest of zero length", "manifest", content(""), "not usable JSON"),
    ("a manifest that is a pickle", "manifest", content(PICKLE), "no usable checkpoint"),
    ("a manifest that is a link", "manifest", outside, "a link, expected a plain file"),
    (
        "leaves named as paths",
        "manifest",
        _manifest(lambda m: m["leaves"].update({"../../x": m["leaves"].pop("fc/bias")})),
        "another model",
    ),
    (
        "a leaf of objects",
        "manifest",
        _manifest(lambda m: m["leaves"]["fc/bias"].update(dtype="object")),
        "fc/bias is object",
    ),
    (
        "leaves that are a list",
        "manifest",
        _manifest(lambda m: m.update(leaves=[1])),
        "not those of",
    ),
    (
        "a shape of texts",
        "manifest",
        _manifest(lambda m: m["leaves"]["fc/bias"].update(shape=["6"])),
        "not those",
    ),
    ("settings with a key twice", "config", _twice, "stands twice"),
    ("settings that name a class", "config", content('{"__class__": "os.system"}'), "'__class__'"),
    ("settings as YAML", "config", content("!!python/object/apply:os.system [id]"), "JSON"),
    ("a record nested 10^5 deep", "record", content('{"a":' * DEEP), "nested deeper"),
    ("a log of lists", "metrics", content("[1]\n[2]\n"), "metrics.jsonl:1: not usable"),
    (
        "a log with half a line inside",
        "metrics",
        content('{"step": 1}\n{"st\n{"step": 3}\n'),
        "metrics.jsonl:2: not usable",
    ),
):
    CASES.add(_name, _kind, _make, _words)


def _set_number(name: str, value: Any) -> Callable[[Path], Any]:
    def make(path: Path) -> None:
        values = json.loads(path.read_bytes())
        values[name] = value
        path.write_text(json.dumps(values))

    return make


CASES.add("settings of another type", "config", _set_number("epochs", "12; import os"), "epochs is")
CASES.add("settings out of range", "config", _set_number("batch_size", -1), "expected 1 or more")
CASES.add("settings with a NUL in a path", "config", _set_number("out", "a\x00b"), "out is")


# safetensors.


def tensors(header: Any, data: bytes = b"", *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def _one(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


for _name, _bytes, _words in (
    ("a header of 100 MB", tensors(_one(), bytes(8), size=100 << 20), "a header of 104857600"),
    ("a header of 2^64 bytes", tensors(_one(), size=(1 << 64) - 1), "a header of"),
    ("overlapping offsets", tensors(_one() | {"b": _one()["a"]}, bytes(8)), "overlap"),
    ("a gap between offsets", tensors(_one(data_offsets=[4, 12]), bytes(12)), "leave a gap"),
    ("offsets backwards", tensors(_one(data_offsets=[8, 0]), bytes(8)), "bytes are its"),
    (
        "offsets beyond the end",
        tensors(_one(shape=[1 << 40], data_offsets=[0, 1 << 42])),
        "are declared",
    ),
    ("a shape beyond 64 bits", tensors(_one(shape=[1 << 62, 1 << 62]), bytes(8)), "bytes are its"),
    ("a tensor twice", tensors(b'{"a":{},"a":{}}'), "stands twice"),
    ("trailing bytes in safetensors", tensors(_one(), bytes(12)), "are declared"),
    ("a dtype of objects", tensors(_one(dtype="O"), bytes(8)), "is 'O'"),
    ("a header nested 10^5 deep", tensors(b'{"a":' * DEEP), "nested deeper"),
    ("a header in Latin-1", tensors(b'{"\xe9":1}'), "not UTF-8"),
    (
        "a tensor below a tensor",
        tensors(
            {
                "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
                "a/b": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]},
            },
            bytes(2),
        ),
        "below another",
    ),
    ("a tensor with no name", tensors({"": _one()["a"]}, bytes(8)), "is no path"),
    (
        "a wrong digest",
        tensors(_one() | {"__metadata__": {"jaxcnn.sha256": "0" * 64}}, bytes(8)),
        "SHA-256",
    ),
    (
        "metadata that are no texts",
        tensors(_one() | {"__metadata__": {"a": 1}}, bytes(8)),
        "not texts",
    ),
    ("a pickle as safetensors", PICKLE, "a header of"),
    ("safetensors of zero length", b"", "a header of"),
):
    CASES.add(_name, "safetensors", content(_bytes), _words)
