"""Pictures of any size, and how a batch of a stream is made of them: order, crops, rows.

Everything here is a pure function of (seed, epoch, place in the epoch).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.batches import steps_per_epoch
from jaxcnn.data.folder import CorruptImageError

_AREA = (0.08, 1.0)  # of the picture, what a training crop keeps
_RATIO = (3 / 4, 4 / 3)  # its width over its height, before it is resized to a square
_TRIES = 10
_CENTRE = 224 / 256  # of the shorter side, what an evaluation crop keeps
_ORDER, _VIEW = 0, 1  # keep the two uses of one seed apart


def example_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """The order of training examples in an epoch: a permutation by NumPy's PCG64.

    >>> sorted(example_order(seed=0, epoch=3, examples=4).tolist())
    [0, 1, 2, 3]
    """
    return np.random.default_rng((_ORDER, seed, epoch)).permutation(examples)


def random_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws a part of a picture: 8 to 100 % of its area, 3:4 to 4:3 in shape.

    Where ten draws do not fit into the picture, the largest middle part of an allowed shape.

    Returns:
      left, top, right, bottom in pixels.

    Source: Szegedy et al. 2015, "Going deeper with convolutions", section 6.
    """
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*_AREA)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return _middle(
        height, width, min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))
    )


def centre_box(height: int, width: int) -> tuple[int, int, int, int]:
    """The middle square whose side is 224/256 of the shorter side: left, top, right, bottom.

    >>> centre_box(256, 300)
    (38, 16, 262, 240)
    """
    side = max(1, round(_CENTRE * min(height, width)))
    return _middle(height, width, side, side)


def _middle(height: int, width: int, h: int, w: int) -> tuple[int, int, int, int]:
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


class Pictures(Protocol):
    """What a stream reads: `ImageFolder`, `PreparedPictures`, or your own.

    It is sent to worker processes, so it must be picklable, and small.

    Attributes:
      name: for people.
      classes: name of each class.
      source: where it is, for people.
      fingerprint: equal for equal sets.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...

    def __len__(self) -> int: ...

    def place(self, index: int) -> str:
        """Names an example, for messages."""
        ...

    def example(self, index: int) -> tuple[NDArray[np.uint8], int]:
        """The picture [H, W, 3] and its label; raises `CorruptImageError`."""
        ...


class Made(NamedTuple):
    """A batch, and what could not be read for it."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    mask: NDArray[np.bool_]
    corrupt: tuple[tuple[str, str], ...]  # path and message


@functools.lru_cache(maxsize=2)
def _kept_order(seed: int, epoch: int, examples: int) -> NDArray[np.int64]:
    """Drawn once an epoch: a million examples take 12 ms."""
    return example_order(seed, epoch, examples)


@dataclasses.dataclass(frozen=True, eq=False)
class BatchMaker:
    """Makes this process's rows of any batch; it is sent to the workers."""

    folder: Pictures
    size: int
    batch_size: int
    seed: int
    train: bool
    process: int
    processes: int

    @property
    def steps(self) -> int:
        return steps_per_epoch(len(self.folder), self.batch_size)

    def __call__(self, number: int) -> Made:
        """The batch `number`, counted from the first one of epoch 0."""
        epoch, step = divmod(number, self.steps)
        share, examples = self.batch_size // self.processes, len(self.folder)
        first = step * self.batch_size + self.process * share
        images = np.zeros((share, self.size, self.size, 3), np.uint8)
        labels, mask = np.zeros(share, np.int32), np.zeros(share, np.bool_)
        corrupt = []
        for row, place in enumerate(range(first, min(first + share, examples))):
            index = int(_kept_order(self.seed, epoch, examples)[place]) if self.train else place
            try:
                pixels, label = self.folder.example(index)
            except CorruptImageError as error:
                corrupt.append((self.folder.place(index), str(error)))
                continue
            images[row] = self.view(pixels, epoch, place)
            labels[row], mask[row] = label, True
        return Made(images, labels, mask, tuple(corrupt))

    def view(self, pixels: NDArray[np.uint8], epoch: int, place: int) -> NDArray[np.uint8]:
        """Crops a picture [H, W, 3] to [size, size, 3], for training with a random mirroring."""
        from PIL import Image

        height, width, _ = pixels.shape
        rng = np.random.default_rng((_VIEW, self.seed, epoch, place))
        left, top, right, bottom = (
            random_box(height, width, rng) if self.train else centre_box(height, width)
        )
        part = Image.fromarray(pixels[top:bottom, left:right])
        small = np.asarray(part.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return small[:, ::-1] if self.train and rng.random() < 0.5 else small
