"""The one type that readers return: a labelled set of images in memory."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxcnn.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with one label each. Checked when it is made; compared by identity.

    Attributes:
      name: for people, such as "mnist/train".
      images: [N, H, W, C] uint8.
      labels: [N] int32 in 0 .. len(classes)-1; a copy that cannot be written to, so that what
        was checked stays so. JAX would train on label -1 as on the last class.
      classes: name of each class.
      source: where it was read from, for people and records.

    Raises:
      DataError: rank, dtype or counts do not fit, the set is empty, or a label is outside
        the classes.
    """

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        for name in ("images", "labels"):
            if not isinstance(getattr(self, name), np.ndarray):
                raise DataError(
                    f"{self.name}: {name} are {type(getattr(self, name)).__name__}, expected a "
                    f"NumPy array. Source: {self.source}."
                )
        if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape[1:]:
            raise DataError(
                f"{self.name}: images are {images.dtype}{list(images.shape)}, expected uint8 "
                f"[N, H, W, C]. Source: {self.source}."
            )
        if labels.ndim != 1 or labels.dtype != np.int32:
            raise DataError(
                f"{self.name}: labels are {labels.dtype}{list(labels.shape)}, expected int32 [N]."
                f" Source: {self.source}."
            )
        if len(images) != len(labels) or not len(images):
            raise DataError(
                f"{self.name}: {len(images)} images and {len(labels)} labels, expected the same "
                f"number, at least 1. Source: {self.source}."
            )
        if labels.min() < 0 or labels.max() >= len(self.classes):
            index = int(np.argmax((labels < 0) | (labels >= len(self.classes))))
            raise DataError(
                f"{self.name}: label {labels[index]} of example {index} is outside "
                f"0 .. {len(self.classes) - 1}. Source: {self.source}."
            )
        labels = np.array(labels)
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of images, labels and class names, in order: equal means the same data."""
        digest = hashlib.sha256()
        digest.update(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("<i4").tobytes())
        return digest.hexdigest()

    def take(self, indices: NDArray[Any] | Sequence[int], name: str) -> Dataset:
        """The examples at `indices`, as a set called `name`."""
        index = np.asarray(indices)
        return dataclasses.replace(
            self, name=name, images=self.images[index], labels=self.labels[index]
        )

    def hold_out(self, examples: int, seed: int) -> tuple[Dataset, Dataset]:
        """Splits into (the rest, `examples` chosen by `seed`), both in their old order.

        Raises:
          ConfigError: nothing would be left on one side.
        """
        if not 0 < examples < len(self):
            raise ConfigError(
                f"cannot hold out {examples} of the {len(self)} examples of {self.name}: use "
                f"1 .. {len(self) - 1}."
            )
        chosen = np.zeros(len(self), bool)
        chosen[np.random.default_rng(seed).permutation(len(self))[:examples]] = True
        return (
            self.take(np.flatnonzero(~chosen), f"{self.name}-rest"),
            self.take(np.flatnonzero(chosen), f"{self.name}-held-out"),
        )


@dataclasses.dataclass(frozen=True)
class Splits:
    """A data set as published: training examples and test examples."""

    train: Dataset
    test: Dataset
