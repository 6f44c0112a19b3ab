"""IDX files as the tests write them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from jaxcnn.data import Dataset, Splits
from jaxcnn.data.idx import FILES

DIGITS = tuple("0123456789")


def idx_bytes(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, splits: Splits, *, compress: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in FILES.items():
        part: Dataset = getattr(splits, split)
        for stem, array in ((images, part.images[..., 0]), (labels, part.labels)):
            content = idx_bytes(array)
            name = f"{stem}.gz" if compress else stem
            (folder / name).write_bytes(gzip.compress(content) if compress else content)
    return folder
