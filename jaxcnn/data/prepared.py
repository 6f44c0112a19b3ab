"""The description of a prepared TensorFlow data set: what its JSON files say, held against them.

tfds itself imports whatever module `features.json` names (`pythonClassName`) and opens whatever
path the templates in `dataset_info.json` make. Here neither is looked at: a feature is told by
its fields, and file names are made of the set's name, its splits and numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcnn.errors import DataError
from jaxcnn.untrusted import open_plain, read_json, read_text

MAX_BYTES = 4 << 30
"""Largest decoded split: 4 GiB, 27 times CIFAR-10's."""

_GROWTH = 100  # decoded bytes for each byte of the records; PNG's most is a thousandfold
_SPARE = 16 << 20  # bytes that may come of any file
_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
_MOST_FILES = 1_000
_MOST_CLASSES = 100_000


@dataclasses.dataclass(frozen=True)
class Split:
    """One split: its record files and the number of examples in all of them."""

    files: tuple[Path, ...]
    examples: int


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared set of labelled images.

    Attributes:
      folder: where `dataset_info.json` is.
      image_shape: height, width, channels.
      classes: names of the classes.
      train, test: the splits.
    """

    folder: Path
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: Split
    test: Split

    @property
    def files(self) -> list[Path]:
        """Everything that decides what is read."""
        described = [self.folder / name for name in (_INFO, _FEATURES, _NAMES)]
        return [path for path in described if path.is_file()] + [
            *self.train.files,
            *self.test.files,
        ]


_INFO, _FEATURES, _NAMES = "dataset_info.json", "features.json", "label.labels.txt"


def describe(folder: Path) -> Prepared:
    """Reads what a prepared set says of itself.

    Raises:
      DataError: it is not a set of labelled images with splits "train" and "test" prepared as
        array_record, a record file is missing or a link, or more is declared than its size
        can hold.
    """
    with _described(folder, "labelled images in splits train and test"):
        info, name, features = _read(folder)
        image = features["image"]["image"]
        shape = tuple(_number(size) for size in image["shape"]["dimensions"])
        if len(shape) != 3 or 0 in shape or image.get("dtype", "uint8") != "uint8":
            raise DataError(
                f"{folder / _FEATURES}: images are {str(image.get('dtype'))[:80]}{list(shape)}, "
                "expected uint8 [H, W, C]."
            )
        train, test = (
            _whole_split(folder, name, part, _find(info, part), math.prod(shape))
            for part in ("train", "test")
        )
        height, width, channels = shape
        classes = _classes(folder, features)
        return Prepared(folder, (height, width, channels), classes, train, test)


def describe_split(folder: Path, split: str) -> tuple[str, tuple[str, ...], Shards]:
    """What a prepared set says of one split, whose images may have any size.

    Returns:
      The set's name, the names of its classes, and the record files.

    Raises:
      DataError: it is not a set of labelled images prepared as array_record, has no such split,
        or a record file is missing or a link.
    """
    with _described(folder, f"labelled images with a split {split}"):
        info, name, features = _read(folder)
        if features["image"]["image"].get("dtype", "uint8") != "uint8":
            raise DataError(f"{folder / _FEATURES}: images are not uint8.")
        shards, _ = _shards(folder, name, split, _find(info, split))
        return name, _classes(folder, features), shards


@dataclasses.dataclass(frozen=True)
class Shards:
    """The record files of a split, and how many examples each is said to hold."""

    files: tuple[Path, ...]
    counts: tuple[int, ...]


def _read(folder: Path) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The description, the set's name, and its features."""
    info = read_json(folder / _INFO, error=DataError)
    features = read_json(folder / _FEATURES, error=DataError)
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != "array_record":
        raise DataError(
            f"{folder}: prepared as {str(file_format)[:80]}, which only TensorFlow reads. Prepare "
            "it again with file_format='array_record'."
        )
    name = info["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DataError(f"{folder / _INFO}: {str(name)[:80]!r} is no name of a data set.")
    return info, name, features["featuresDict"]["features"]


@contextlib.contextmanager
def _described(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{folder}: not the description of {what}: {type(error).__name__}: "
            f"{str(error)[:200]}.\nIf a file is damaged, delete the folder and prepare the set "
            "again."
        ) from error


def _find(info: dict[str, Any], part: str) -> dict[str, Any]:
    splits = {split["name"]: split for split in info["splits"]}
    found: dict[str, Any] = splits[part]
    return found


def _classes(folder: Path, features: dict[str, Any]) -> tuple[str, ...]:
    """The names of the classes, or their numbers."""
    count = _number(features["label"]["classLabel"]["numClasses"])
    if not 0 < count <= _MOST_CLASSES:
        raise DataError(f"{folder / _FEATURES}: {count} classes, expected 1 .. {_MOST_CLASSES}.")
    if not (folder / _NAMES).exists():
        return tuple(str(label) for label in range(count))
    lines = read_text(folder / _NAMES, error=DataError).split("\n")
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != count:
        raise DataError(f"{folder / _NAMES}: names {len(names)} classes, expected {count}.")
    return names


def _shards(folder: Path, name: str, part: str, split: dict[str, Any]) -> tuple[Shards, int]:
    """The record files of a split, and the bytes in them."""
    lengths = [_number(length) for length in split["shardLengths"]]
    if not 0 < len(lengths) <= _MOST_FILES:
        raise DataError(
            f"{folder / _INFO}: {part} in {len(lengths)} files, expected 1 .. {_MOST_FILES}."
        )
    files = tuple(
        folder / f"{name}-{part}.array_record-{number:05d}-of-{len(lengths):05d}"
        for number in range(len(lengths))
    )
    stored = 0
    for file in files:
        with open_plain(file, most=MAX_BYTES, error=DataError, follow=False) as (_, there):
            stored += there
    return Shards(files, tuple(lengths)), stored


def _whole_split(folder: Path, name: str, part: str, split: dict[str, Any], size: int) -> Split:
    """A split that is to be decoded as a whole."""
    shards, stored = _shards(folder, name, part, split)
    examples, most = sum(shards.counts), min(MAX_BYTES, _SPARE + _GROWTH * stored)
    if examples == 0 or examples * size > most:
        raise DataError(
            f"{folder / _INFO}: {part} has {examples} images of {size} bytes in {stored} bytes of "
            f"records, expected 1 or more and at most {most} decoded. A file is damaged; delete "
            "the folder and prepare the set again."
        )
    return Split(shards.files, examples)


def _number(value: Any) -> int:
    """A count: protocol buffers write those of 64 bits as strings."""
    number = int(value) if isinstance(value, str) and len(value) < 20 else value
    if type(number) is not int or number < 0:
        raise ValueError(f"{str(value)[:80]!r} is no count")
    return number
