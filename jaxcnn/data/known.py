"""What is known of the published data sets that can be asked for by name."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.idx import FILES
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
      files: SHA-256 of the published files by name: what is checked where `content` is not
        pinned.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: int
    test: int
    content: tuple[str, str] | None = None
    idx: bool = False
    files: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def check_files(self, folder: Path, digests: Mapping[str, str]) -> bool:
        """Holds the digests of files against those of the published ones.

        Returns:
          Whether that or `check` says that the data set is the published one.

        Raises:
          DataError: a file has the name of a published one and other content.
        """
        if self.content is not None:  # which tells more: the same examples may be packed anew
            return True
        for name in digests.keys() & self.files.keys():
            if digests[name] != self.files[name]:
                raise DataError(
                    f"{folder / name}: not the published file of {self.name}: its SHA-256 is "
                    f"{digests[name]}, expected {self.files[name]}. It is damaged or was packed "
                    "anew; get it again, or read your own data with --data idx."
                )
        return bool(digests) and digests.keys() <= self.files.keys()

    def check_sizes(
        self,
        source: object,
        counts: tuple[int, int],
        shape: tuple[int, int, int],
        classes: tuple[str, ...],
    ) -> None:
        """Raises `DataError` unless the sizes are those of this data set."""
        for count, wanted in zip(counts, (self.train, self.test), strict=True):
            if (count, shape, len(classes)) != (wanted, self.image_shape, len(self.classes)):
                raise DataError(
                    f"{source}: not {self.name}: {count} images of {shape} in {len(classes)} "
                    f"classes, expected {wanted} of {self.image_shape} in {len(self.classes)}."
                )

    def check(self, splits: Splits) -> None:
        """Raises `DataError` unless `splits` is this data set, to the bit where pinned."""
        counts = len(splits.train), len(splits.test)
        for i, split in enumerate((splits.train, splits.test)):
            self.check_sizes(split.source, counts, split.image_shape, split.classes)
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


def _packed(*digests: str) -> dict[str, str]:
    """The four published files, from the checksums of tensorflow-datasets 4.9.10."""
    stems = [stem for pair in FILES.values() for stem in pair]
    return dict(zip([f"{stem}.gz" for stem in stems], digests, strict=True))


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
            files=_packed(
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        Known(
            "kmnist",
            (28, 28, 1),
            ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            60_000,
            10_000,
            idx=True,
            files=_packed(
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
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
