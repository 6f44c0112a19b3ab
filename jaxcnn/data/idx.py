"""IDX, the file format of MNIST: a header with the sizes, then bytes.

The header is not believed: the sizes it declares are held against the bytes that are there
before anything is allocated, and decompression stops where the declared data ends, or before:
compressed files may grow a hundredfold and no more.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.errors import DataError
from jaxcnn.untrusted import open_plain

MAX_BYTES = 1 << 30
"""Largest array that is read: 1 GiB, twenty times the training images of MNIST."""

_GROWTH = 100  # MNIST's images grow fivefold; gzip's most is a thousandfold
_SPARE = 16 << 20  # bytes that may come of any file: sorted labels grow a thousandfold
_BLOCK = 1 << 20

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_idx_array(path: Path, rank: int) -> NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes, gzip-compressed or not.

    Args:
      path: the file; compressed if its first two bytes say so, whatever its name.
      rank: number of axes it must have: 3 for images, 1 for labels.

    Raises:
      DataError: the file is missing, unreadable, truncated, damaged, longer than its header
        says, or of another type or rank.
    """
    try:
        with open_plain(path, most=MAX_BYTES + _BLOCK, error=DataError) as (raw, stored):
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if compressed else raw as file:
                head = file.read(4 + 4 * rank)
                shape = _shape(path, head, rank)
                size = math.prod(shape)
                if not compressed and stored != len(head) + size:
                    raise DataError(
                        f"{path}: has {stored} bytes, but its header declares "
                        f"{len(head) + size}. The file is damaged; get it again."
                    )
                if compressed and size > _SPARE + _GROWTH * stored:
                    raise DataError(
                        f"{path}: {stored} bytes that declare to hold {size}, expected at most "
                        f"{_SPARE + _GROWTH * stored}. The file is damaged; get it again."
                    )
                # One byte more than declared: what follows must be the end of the file.
                body = _read(file, size + 1)
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise DataError(
            f"{path}: cannot be read: {error}. If the file exists, it is damaged; get it again."
        ) from error
    if len(body) != size:
        found = f"only {len(body)}" if len(body) < size else f"more than {size}"
        raise DataError(
            f"{path}: {found} bytes of data, but its header declares {size}, "
            f"{'x'.join(map(str, shape))}. The file is damaged; get it again."
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_idx_pair(images: Path, labels: Path, classes: tuple[str, ...], name: str) -> Dataset:
    """Reads an IDX file of images and one of labels as a `Dataset` with one channel.

    Raises:
      DataError: a file is damaged, the counts differ, or a label is outside the classes.
    """
    pixels = read_idx_array(images, 3)[..., None]
    numbers = read_idx_array(labels, 1).astype(np.int32)
    return Dataset(name, pixels, numbers, classes, source=f"{images} and {labels.name}")


def find_idx(folder: Path) -> dict[str, tuple[Path, Path]] | None:
    """The four files of an MNIST-like set in `folder`, plain or .gz, or None if none is there.

    Raises:
      DataError: some are there and others are not.
    """
    found: dict[str, list[Path]] = {}
    missing = []
    for split, stems in FILES.items():
        for stem in stems:
            places = (folder / stem, folder / f"{stem}.gz")
            paths = [p for p in places if os.path.isfile(p)]  # `Path` raises in a closed folder
            if paths:
                found.setdefault(split, []).append(paths[0])
            else:
                missing.append(stem)
    if not found:
        return None
    if missing:
        raise DataError(
            f"{folder}: holds part of an IDX data set; missing {', '.join(missing)} (or .gz)."
        )
    return {split: (paths[0], paths[1]) for split, paths in found.items()}


def read_idx_folder(folder: Path, classes: tuple[str, ...], name: str) -> Splits:
    """Reads the four files of an MNIST-like set.

    Raises:
      DataError: they are not all there, or one is damaged.
    """
    files = find_idx(folder)
    if files is None:
        expected = ", ".join(stem for pair in FILES.values() for stem in pair)
        raise DataError(f"{folder}: no IDX data set here. Expected {expected} (or .gz).")
    return Splits(
        **{
            split: read_idx_pair(images, labels, classes, f"{name}/{split}")
            for split, (images, labels) in files.items()
        }
    )


def _read(file: gzip.GzipFile | BufferedReader, most: int) -> bytearray:
    """Up to `most` bytes. In blocks: `read` allocates what it is asked for, there or not."""
    body = bytearray()
    while len(body) < most and (block := file.read(min(_BLOCK, most - len(body)))):
        body += block
    return body


def _shape(path: Path, head: bytes, rank: int) -> tuple[int, ...]:
    kind = "images" if rank == 3 else "labels"
    if len(head) < 4 + 4 * rank or head[:3] != b"\x00\x00\x08" or head[3] != rank:
        raise DataError(
            f"{path}: not an IDX file of {kind}: expected the magic number 0x0000080{rank}, "
            f"got 0x{head[:4].hex()}."
        )
    shape = struct.unpack(f">{rank}I", head[4:])
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise DataError(
            f"{path}: the header declares {'x'.join(map(str, shape))} bytes; "
            f"between 1 and {MAX_BYTES} are read. The file is damaged or too large."
        )
    return shape
