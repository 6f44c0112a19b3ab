"""One split of a prepared TensorFlow data set, read example by example, for large ones.

The index is the set's own: which record file holds how many examples. Records are array_record,
which gives any of them directly. `read_prepared` of `data.tfds` reads a whole set into memory.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.folder import CorruptImageError, decode
from jaxcnn.data.prepared import describe_split
from jaxcnn.data.tfds import parse
from jaxcnn.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedPictures:
    """Labelled pictures of any size in a prepared set; made by `PreparedPictures.open`.

    Attributes:
      name: for people, such as "imagenet2012/train".
      classes: name of each class.
      source: the folder with its `dataset_info.json`.
      fingerprint: SHA-256 over classes, names, sizes and counts of the record files. The pixels
        are not looked at.
      files: paths of the record files.
      ends: number of examples up to the end of each file.
    """

    name: str
    classes: tuple[str, ...]
    source: str
    fingerprint: str
    files: tuple[str, ...]
    ends: tuple[int, ...]

    @classmethod
    def open(cls, folder: Path | str, split: str) -> PreparedPictures:
        """Reads what the set says of itself; no record is read.

        Args:
          folder: where its `dataset_info.json` is, such as `imagenet2012/5.1.0`.
          split: such as "train".

        Raises:
          DataError: it is no array_record data set of images and labels, has no such split, or a
            record file is missing or has another number of examples than the set declares.
        """
        top = Path(folder)
        name, classes, shards = describe_split(top, split)
        digest = hashlib.sha256(repr(classes).encode())
        for path, count in zip(shards.files, shards.counts, strict=True):
            held = _reader(str(path)).num_records()
            if held != count:
                raise DataError(
                    f"{path}: {held} examples, but the set declares {count}: truncated or damaged."
                    "\nDelete the data set's folder and prepare it again."
                )
            digest.update(repr((path.name, path.stat().st_size, count)).encode())
        return cls(
            name=f"{name}/{split}",
            classes=classes,
            source=str(top),
            fingerprint=digest.hexdigest(),
            files=tuple(map(str, shards.files)),
            ends=tuple(itertools.accumulate(shards.counts)),
        )

    def __len__(self) -> int:
        return self.ends[-1]

    def place(self, index: int) -> str:
        """Names an example: its file, and its number there."""
        file, number = self._find(index)
        return f"{Path(self.files[file]).name}[{number}]"

    def example(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """The picture as RGB [H, W, 3], and its label.

        Raises:
          CorruptImageError: the picture cannot be decoded, or the record cannot be read.
          DataError: the label is outside the classes.
        """
        file, number = self._find(index)
        here = Path(self.source, self.place(index))
        try:
            (record,) = _reader(self.files[file]).read([number])
            content, label = parse(record)
        except Exception as error:  # array_record and protobuf raise nearly anything
            first = str(error).partition("\n")[0][:200]
            raise CorruptImageError(
                f"{here}: no usable record: {type(error).__name__}: {first}."
            ) from error
        if not 0 <= label < len(self.classes):
            raise DataError(f"{here}: label {label} is outside 0 .. {len(self.classes) - 1}.")
        return decode(content, here), label

    def _find(self, index: int) -> tuple[int, int]:
        file = bisect.bisect_right(self.ends, index)
        return file, index - (self.ends[file - 1] if file else 0)


@functools.lru_cache(maxsize=64)  # a large set has a thousand files, and a process a limit
def _reader(path: str) -> Any:
    """An open record file; each worker process opens its own."""
    from array_record.python.array_record_module import ArrayRecordReader

    try:
        return ArrayRecordReader(path)
    except Exception as error:
        first = str(error).partition("\n")[0][:200]
        raise DataError(f"{path}: cannot be read as array_record: {first}.") from error
