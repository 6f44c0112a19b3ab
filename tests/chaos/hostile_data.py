"""Hostile data sets: IDX, sets prepared by tensorflow-datasets, pictures."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.hostile_kit import DEEP, PICKLE, Cases, Hostile, content, outside, pipe
from tests.chaos.prepared_files import example, honest_records, png, write_prepared, write_records
from tests.chaos.reader_formats import idx_bytes, splits
from tests.pictures import png_head

CASES = Cases()

# IDX.


def idx(*shape: int, data: bytes = b"", magic: int = 0x803) -> bytes:
    return struct.pack(f">I{len(shape)}I", magic, *shape) + data


for _name, _bytes, _words in (
    ("gz 1000:1", gzip.compress(idx(384, 384, 384, data=bytes(384**3))), "expected at most"),
    ("gz that claims 1 GiB", gzip.compress(idx(1024, 1024, 1024)), "expected at most"),
    ("idx that claims 64 EiB", idx(*[0xFFFFFFFF] * 3), "too large"),
    ("idx that claims more than it has", idx(100, 28, 28, data=bytes(784)), "its header declares"),
    ("idx of zero length", b"", "not an IDX file"),
    ("idx of zero images", idx(0, 28, 28), "damaged or too large"),
    ("idx of floats", idx(1, 1, 4, data=bytes(16), magic=0xD03), "not an IDX file of images"),
    ("idx that is a pickle", PICKLE, "not an IDX file"),
    ("trailing bytes in idx", idx_bytes() + b"x", "its header declares"),
    ("trailing bytes in gz", gzip.compress(idx_bytes() + b"x"), "more than 600"),
    ("trailing bytes behind gz", gzip.compress(idx_bytes()) + b"x" * 9, "cannot be read"),
    ("gz with a wrong CRC", gzip.compress(idx_bytes())[:-8] + bytes(8), "cannot be read"),
    ("gz cut short", gzip.compress(idx_bytes())[:-20], "cannot be read"),
):
    CASES.add(_name, "idx", content(_bytes), _words)
CASES.add("idx that is a pipe", "idx", pipe, "not a plain file")
CASES.add(
    "idx that is a folder",
    "idx",
    lambda path: (path.unlink(), path.mkdir()),
    "not a plain file",
)


# A set prepared by tensorflow-datasets.


def _info(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    return lambda path: write_prepared(path.parent, splits(), info=change)


def _features(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    return lambda path: write_prepared(path.parent, splits(), features=change)


def _records(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], Any]:
    """Changes the records of the training split, in a whole file."""

    def make(path: Path) -> None:
        write_records(path, change(honest_records(splits().train)))

    return make


def _record_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _tfrecord() -> bytes:
    """One record with a length and checksums that are wrong."""
    return struct.pack("<QI", 1 << 60, 0) + b"data" + struct.pack("<I", 0)


def _splits_of(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda info: info["splits"][0].update({name: value})


PIXELS = splits().train.images
for _name, _kind, _make, _words in (
    (
        "a set named ../../x",
        "dataset_info",
        _info(lambda i: i.update(name="../../x")),
        "is no name",
    ),
    (
        "10^12 examples",
        "dataset_info",
        _info(_splits_of("shardLengths", [str(10**12)])),
        "train has",
    ),
    (
        "10^30 examples",
        "dataset_info",
        _info(_splits_of("shardLengths", ["1" * 30])),
        "is no count",
    ),
    (
        "10^4 files",
        "dataset_info",
        _info(_splits_of("shardLengths", ["1"] * 10_000)),
        "in 10000 files",
    ),
    (
        "a file that is missing",
        "dataset_info",
        _info(_splits_of("shardLengths", ["15"] * 2)),
        "No such",
    ),
    (
        "more examples than there are",
        "dataset_info",
        _info(_splits_of("shardLengths", ["31"])),
        "30 exam",
    ),
    (
        "fewer examples than there are",
        "dataset_info",
        _info(_splits_of("shardLengths", ["29"])),
        "30 exam",
    ),
    (
        "TFRecord",
        "dataset_info",
        _info(lambda i: i.update(fileFormat="tfrecord")),
        "prepared as tfrecord",
    ),
    ("no splits", "dataset_info", _info(lambda i: i.update(splits=[])), "not the description"),
    (
        "10^12 classes",
        "features",
        _features(lambda f: f["label"]["classLabel"].update(numClasses=10**12)),
        "classes, expected",
    ),
    (
        "5 of 10 classes",
        "features",
        _features(lambda f: f["label"]["classLabel"].update(numClasses="5")),
        "is outside 0 .. 4",
    ),
    (
        "images of 10^18 bytes",
        "features",
        _features(
            lambda f: f["image"]["image"]["shape"].update(
                dimensions=["1000000", "1000000", "1000000"]
            )
        ),
        "expected 1 or more",
    ),
    ("features nested 10^5 deep", "features", content('{"a":' * DEEP), "nested deeper"),
    ("records that are a link", "array_record", outside, "a link, expected a plain file"),
    ("records that are a pickle", "array_record", content(PICKLE), "damaged"),
    ("records of TFRecord", "array_record", content(_tfrecord()), "damaged"),
    ("records of zero length", "array_record", content(b""), "damaged"),
    ("records of zeros", "array_record", _record_bytes(lambda b: bytes(len(b))), "damaged"),
    (
        "records with a wrong length",
        "array_record",
        _record_bytes(lambda b: b[:72] + b"\xff" * 8 + b[80:]),
        "damaged",
    ),
    (
        "records with a wrong checksum",
        "array_record",
        _record_bytes(lambda b: b[:80] + b"\0" * 8 + b[88:]),
        "damaged",
    ),
    (
        "a record of 50,000 x 50,000",
        "array_record",
        _records(lambda r: [example(png_head(50_000, 50_000), 0), *r[1:]]),
        "DecompressionBomb",
    ),
    (
        "a record of another size",
        "array_record",
        _records(lambda r: [example(png(PIXELS[0][:4]), 0), *r[1:]]),
        "expected",
    ),
    (
        "a record of another format",
        "array_record",
        _records(lambda r: [example(b"GIF89a" + bytes(40), 0), *r[1:]]),
        "damaged",
    ),
    ("a record without a label", "array_record", _records(lambda r: [b"", *r[1:]]), "damaged"),
    (
        "a record that is no example",
        "array_record",
        _records(lambda r: [b"\xff" * 40, *r[1:]]),
        "damaged",
    ),
    (
        "label -1 in a record",
        "array_record",
        _records(lambda r: [example(png(PIXELS[0]), -1), *r[1:]]),
        "label -1",
    ),
    (
        "label 2^40 in a record",
        "array_record",
        _records(lambda r: [example(png(PIXELS[0]), 1 << 40), *r[1:]]),
        "damaged",
    ),
):
    CASES.add(_name, _kind, _make, _words)

IGNORED = [
    Hostile(
        "features that name a module",
        "features",
        _features(lambda f: f["image"].update(pythonClassName="antigravity.Image")),
        "",
    ),
    Hostile(
        "a template that names a path",
        "dataset_info",
        _info(_splits_of("filepathTemplate", "/etc/passwd")),
        "",
    ),
]


# Pictures.


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _text_bomb() -> bytes:
    """A picture of one pixel with 32 MiB of text."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    packed = zlib.compress(bytes(32 << 20), 9)
    parts = _chunk(b"IHDR", head) + _chunk(b"zTXt", b"Comment\0\0" + packed)
    return (
        b"\x89PNG\r\n\x1a\n"
        + parts
        + _chunk(b"IDAT", zlib.compress(bytes(4)))
        + _chunk(b"IEND", b"")
    )


def _linked_class(path: Path) -> None:
    other = path.parent.parent.parent.parent / "outside-class"
    other.mkdir(exist_ok=True)
    (other / "x.png").write_bytes(path.read_bytes())
    (path.parent.parent / "linked").symlink_to(other)


for _name, _make, _words in (
    ("a picture of 50,000 x 50,000", content(png_head(50_000, 50_000)), "too many pixels"),
    ("a picture of 8,000 x 8,000", content(png_head(8_000, 8_000)), "expected at most 50000000"),
    ("a picture of 40 Mpx in 100 bytes", content(png_head(8_000, 5_000)), "pixels in [0-9]+ bytes"),
    ("a picture with a text bomb", content(_text_bomb()), "not a whole JPEG or PNG"),
    ("a picture of zero length", content(b""), "not a whole JPEG or PNG"),
    (
        "PostScript as a picture",
        content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "not a whole",
    ),
    ("FITS as a picture", content(b"SIMPLE  =" + b" " * 3_000), "not a whole JPEG or PNG"),
    ("a pickle as a picture", content(PICKLE), "not a whole JPEG or PNG"),
    ("a picture that is a link", outside, "outside"),
    ("a class that is a link", _linked_class, "outside"),
):
    CASES.add(_name, "png", _make, _words)
