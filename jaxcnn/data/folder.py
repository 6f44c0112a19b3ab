"""A folder of pictures, one subfolder for each class: its index, and reading one picture.

The index holds names, sizes and labels, never pixels, so it suits sets larger than memory.
Nothing in the folder is believed: links that lead out of it, oversized and damaged files are
errors that name the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jaxcnn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = (".jpg", ".jpeg", ".png")
_MOST_BYTES = 64 << 20
_MOST_PIXELS = 50_000_000  # below the number at which Pillow warns, so that no warning is passed
_DENSE = 1_100  # pixels that a byte of a picture may hold: the most that PNG can pack, 8 bits each
_SPARE_PIXELS = 2_000_000  # and as many more in any file: 40 MB while it is decoded
_NO_ALPHA = ("1", "L", "P", "RGB", "CMYK")
_ORIENTATION = 0x0112  # tag of EXIF
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L")


class CorruptImageError(DataError):
    """A picture that cannot be read: missing, damaged, too large or not a picture."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFolder:
    """An index of `source/class/name.jpg`, also `.jpeg` and `.png`; made by `ImageFolder.open`.

    Checked however it is made: a label outside the classes is an error.

    Attributes:
      name: for people, such as "flowers/train".
      paths: "class/name.jpg" of each picture, sorted by class, then by name.
      labels: [N] int32 in 0 .. len(classes)-1.
      classes: names of the subfolders, sorted.
      source: the folder, absolute and free of links.
      fingerprint: SHA-256 over classes, paths and file sizes. Equal ones mean the same names
        and sizes; the pixels are not looked at.
    """

    name: str
    paths: tuple[str, ...]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    source: str
    fingerprint: str

    def __post_init__(self) -> None:
        labels = np.array(self.labels)
        if labels.shape != (len(self.paths),) or labels.dtype != np.int32 or not len(labels):
            raise DataError(
                f"{self.name}: labels are {labels.dtype}{list(labels.shape)}, expected "
                f"int32[{len(self.paths)}] for as many pictures, at least 1."
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            index = int(np.argmax((labels < 0) | (labels >= len(self.classes))))
            raise DataError(
                f"{self.name}: label {labels[index]} of {self.paths[index]} is outside "
                f"0 .. {len(self.classes) - 1}."
            )
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)

    @classmethod
    def open(
        cls, root: Path | str, *, name: str | None = None, classes: Sequence[str] | None = None
    ) -> ImageFolder:
        """Lists a folder.

        Hidden files and files with other endings are left out.

        Args:
          root: the folder that holds one subfolder for each class.
          name: the set's name; the folder's own by default.
          classes: the classes that must be there, no more and no fewer. Give a test set those
            of its training set: then equal labels mean equal classes.

        Raises:
          DataError: the folder cannot be listed, has no classes or other ones than `classes`, a
            class has no pictures or subfolders of its own, or a link leads out of the folder.
        """
        try:
            top = Path(root).resolve(strict=True)
            names = sorted(_subfolders(top))
            if classes is not None and names != sorted(classes):
                raise DataError(_other_classes(top, names, classes))
            listed = [(label, *file) for label, k in enumerate(names) for file in _files(top, k)]
        except OSError as error:
            raise DataError(
                f"{error.filename or root}: cannot be listed: {error.strerror or error}."
            ) from error
        if not listed:
            raise DataError(
                f"{top}: no class folders here: expected pictures as class/name.jpg, .jpeg or .png."
            )
        digest = hashlib.sha256(repr(names).encode())
        for _, path, size in listed:
            digest.update(repr((path, size)).encode())
        return cls(
            name=top.name if name is None else name,
            paths=tuple(path for _, path, _ in listed),
            labels=np.array([label for label, _, _ in listed], np.int32),
            classes=tuple(names),
            source=str(top),
            fingerprint=digest.hexdigest(),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Decodes one picture to RGB, upright.

        - Grey and palette pictures become RGB; CMYK is converted without a colour profile.
        - What is transparent is shown on white, as most viewers do.
        - Of 16 bits the upper 8 are taken.
        - The EXIF orientation is applied. One that cannot be read counts as upright, since the
          picture itself is whole.

        Args:
          index: position in `paths`.

        Returns:
          [H, W, 3] uint8.

        Raises:
          CorruptImageError: the file cannot be read, is not a whole JPEG or PNG, is larger than
            64 MiB or 50 million pixels, or claims more pixels than its size can hold; names the
            file.
        """
        path = Path(self.source, self.paths[index])
        try:
            _stay_inside(Path(self.source), path)
            size = path.stat().st_size
            if size > _MOST_BYTES or not path.is_file():
                raise CorruptImageError(
                    f"{path}: {size} bytes, expected a file of at most {_MOST_BYTES}."
                )
            content = path.read_bytes()
        except OSError as error:
            raise CorruptImageError(
                f"{path}: cannot be read: {error.strerror or error}."
            ) from error
        return decode(content, path)  # from memory: Pillow allocates what a chunk of a file claims

    def example(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """The picture, as `read`, and its label."""
        return self.read(index), int(self.labels[index])

    def place(self, index: int) -> str:
        """Names an example: its path."""
        return self.paths[index]


def _subfolders(top: Path) -> list[str]:
    found = []
    with os.scandir(top) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                _stay_inside(top, Path(entry.path), link=entry.is_symlink())
                if entry.is_dir():
                    found.append(entry.name)
    return found


def _files(top: Path, folder: str) -> list[tuple[str, int]]:
    """(path below `top`, bytes) of the pictures of one class, sorted."""
    found = []
    with os.scandir(top / folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            _stay_inside(top, Path(entry.path), link=entry.is_symlink())
            if entry.is_dir():
                raise DataError(
                    f"{entry.path}: a folder inside a class, expected pictures as class/name.jpg."
                    "\nMove its pictures up, or open the folder above."
                )
            if entry.is_file() and entry.name.lower().endswith(_SUFFIXES):
                found.append((f"{folder}/{entry.name}", entry.stat().st_size))
    if not found:
        raise DataError(
            f"{top / folder}: a class with no pictures: expected .jpg, .jpeg or .png files.\n"
            "Remove the folder if the class is not meant."
        )
    return sorted(found)


def _stay_inside(top: Path, path: Path, *, link: bool = True) -> None:
    """Refuses a link that leads out of `top` or nowhere."""
    if not link:
        return
    try:
        target = path.resolve(strict=True)
    except RuntimeError as error:  # how Python before 3.13 reports a circle of links
        raise CorruptImageError(f"{path}: cannot be read: a circle of links.") from error
    if not target.is_relative_to(top):
        raise CorruptImageError(
            f"{path}: a link to {target}, which is outside {top}: refused.\n"
            "Copy the pictures into the folder, or open the folder that holds them."
        )


def _other_classes(top: Path, found: Sequence[str], wanted: Sequence[str]) -> str:
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    return (
        f"{top}: not the expected {len(wanted)} classes: missing {_some(missing)}, unknown "
        f"{_some(unknown)}."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])]) or "none"


def decode(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Decodes a JPEG or PNG file to RGB, upright, as `ImageFolder.read` says.

    Raises:
      CorruptImageError: it is neither, damaged or too large; names `path`.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG", "PNG"]) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise CorruptImageError(
                    f"{path}: {width} x {height} pixels, expected at most {_MOST_PIXELS}."
                )
            if width * height > _SPARE_PIXELS + _DENSE * len(content):
                raise CorruptImageError(
                    f"{path}: {width} x {height} pixels in {len(content)} bytes, expected at most "
                    f"{_SPARE_PIXELS + _DENSE * len(content)}."
                )
            image.load()
            upright: Image.Image = image
            with contextlib.suppress(Exception):  # whatever the EXIF parser trips over
                if image.getexif().get(_ORIENTATION, 1) != 1:  # or it would copy the picture
                    upright = ImageOps.exif_transpose(image)
            return _rgb(upright)
    except (CorruptImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CorruptImageError(
            f"{path}: too many pixels, expected at most {_MOST_PIXELS}: {error}"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        first = str(error).partition("\n")[0][:200]
        raise CorruptImageError(
            f"{path}: not a whole JPEG or PNG picture: {type(error).__name__}: {first}.\n"
            "Replace or delete the file, or use on_corrupt='skip'."
        ) from error


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode in _SIXTEEN_BITS:
        grey = (np.clip(np.asarray(image).astype(np.int64), 0, 0xFFFF) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode not in _NO_ALPHA or "transparency" in image.info:
        front = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
