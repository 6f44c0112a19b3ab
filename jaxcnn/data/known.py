"""What is known of the published data sets that can be asked for by name."""

from __future__ import annotations

import dataclasses
import hashlib

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.errors import DataError


@dataclasses.dataclass(frozen=True)
class Known:
    """A published data set.

    Attributes:
      name: as in tensorflow-datasets.
      image_shape: height, width, channels.
      classes: name of each class.
      train, test: number of examples.
      content: `content_digest` of the training and test examples, where pinned.
      idx: whether it is published as MNIST-like IDX files (and can be downloaded).
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: int
    test: int
    content: tuple[str, str] | None = None
    idx: bool = False

    def check(self, splits: Splits) -> None:
        """Raises `DataError` unless `splits` is this data set, to the bit where pinned."""
        wanted = (self.train, self.test)
        for i, split in enumerate((splits.train, splits.test)):
            got = (len(split), split.image_shape, len(split.classes))
            if got != (wanted[i], self.image_shape, len(self.classes)):
                raise DataError(
                    f"{split.source}: not {self.name}: {len(split)} images of {split.image_shape} "
                    f"in {len(split.classes)} classes, expected {wanted[i]} of {self.image_shape} "
                    f"in {len(self.classes)}."
                )
            if self.content is not None and content_digest(split) != self.content[i]:
                raise DataError(
                    f"{split.source}: the examples of {split.name} are not those of {self.name}: "
                    f"their digest is {content_digest(split)}, expected {self.content[i]}. The "
                    "files are damaged or hold another data set; get them again, or read your "
                    "own data with --data idx."
                )


def content_digest(dataset: Dataset) -> str:
    """SHA-256 of the examples as a set: the same whatever order a source stores them in."""
    each = sorted(
        hashlib.sha256(image.tobytes() + bytes([label])).digest()
        for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)
    )
    return hashlib.sha256(b"".join(each)).hexdigest()


_DIGITS = tuple(str(digit) for digit in range(10))

KNOWN = {
    known.name: known
    for known in (
        Known(
            "mnist",
            (28, 28, 1),
            _DIGITS,
            60_000,
            10_000,
            content=(
                "54e1ab866c9484947dd4821c52bb7a43938f555d6b046be6af55247f8e6ffc64",
                "97b756d55950f1841ebd48df7379b9b2fc87a10d63e08d6213dad41d564e8508",
            ),
            idx=True,
        ),
        Known(
            "fashion_mnist",
            (28, 28, 1),
            ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat")
            + ("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            60_000,
            10_000,
            idx=True,
        ),
        Known(
            "kmnist",
            (28, 28, 1),
            ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            60_000,
            10_000,
            idx=True,
        ),
        Known(
            "cifar10",
            (32, 32, 3),
            ("airplane", "automobile", "bird", "cat", "deer")
            + ("dog", "frog", "horse", "ship", "truck"),
            50_000,
            10_000,
        ),
    )
}
