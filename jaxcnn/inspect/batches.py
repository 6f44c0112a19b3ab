"""Running a function over many images, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.typing import Array

T = TypeVar("T")


def over_batches(
    run: Callable[..., T], arrays: tuple[ArrayLike | Array, ...], batch_size: int
) -> Iterator[tuple[T, NDArray[np.bool_]]]:
    """Yields what `run` makes of each batch, and which of its rows are not padding.

    Args:
      run: `(mask, *rows) -> anything`; mask [B] bool is False on rows that only pad.
      arrays: each [N, ...], on the host or the device.
      batch_size: most rows of a batch. All batches have one shape, so `run` compiles once.

    Raises:
      ConfigError: `batch_size` is not positive.
      ShapeError: there is no example, or the arrays differ in their number.
    """
    check.positive(batch_size, "batch_size")
    hosted: list[NDArray[Any]] = [np.asarray(array) for array in arrays]
    counts = {len(array) for array in hosted}
    if len(counts) > 1 or not min(counts):
        raise ShapeError(
            f"got {' and '.join(map(str, map(len, hosted)))} examples, expected at least one and "
            "as many labels as images."
        )
    total = counts.pop()
    size = min(batch_size, total)
    for start in range(0, total, size):
        parts = [array[start : start + size] for array in hosted]
        mask = np.arange(size) < len(parts[0])
        yield run(mask, *(np.resize(part, (size, *part.shape[1:])) for part in parts)), mask
