"""Metrics as counts that add up over batches, devices and hosts.

A mean of batch means is wrong as soon as one batch is smaller. So steps return sums, and
only the last reader divides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import ShapeError
from jaxcnn.typing import Array, Metrics, describe


def correct_top_k(logits: Array, labels: Array, k: int = 1) -> Array:
    """Whether the label is among the k largest logits, [N] bool.

    Of equal logits the lower class counts as the larger, as in `argmax`.

    Args:
      logits: [N, K].
      labels: [N] integer classes, or [N, K] probabilities (their largest is the class).
      k: how many logits may be tried, 1 .. K.

    Raises:
      ShapeError: k is outside 1 .. K.

    >>> logits = jnp.asarray([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]])
    >>> correct_top_k(logits, jnp.asarray([2, 0])).tolist()
    [False, True]
    >>> correct_top_k(logits, jnp.asarray([2, 0]), k=2).tolist()
    [True, True]
    """
    if not 1 <= k <= logits.shape[-1]:
        raise ShapeError(f"k={k} is not allowed for logits {describe(logits)}: use 1 .. K.")
    labels = class_of(labels)
    if k == 1:
        return jnp.argmax(logits, axis=-1) == labels
    _, largest = jax.lax.top_k(logits, k)
    return jnp.any(largest == labels[:, None], axis=-1)


def classification(
    losses: Array, logits: Array, labels: Array, mask: Array, top_k: Sequence[int] = (1,)
) -> dict[str, Array]:
    """Counts of one batch: `loss_sum`, `count`, `correct`, and `correct_top5` and so on.

    Args:
      losses: [N], of each example.
      logits: [N, K].
      labels: [N] or [N, K].
      mask: [N] bool; rows where it is False count nowhere.
      top_k: the k for which to count; 1 is called `correct`.
    """
    counts = {
        "loss_sum": jnp.sum(jnp.where(mask, losses, 0.0)),
        "count": jnp.sum(mask, dtype=jnp.int32),
    }
    for k in top_k:
        hit = correct_top_k(logits, labels, k) & mask
        counts["correct" if k == 1 else f"correct_top{k}"] = jnp.sum(hit, dtype=jnp.int32)
    return counts


def add(a: Metrics, b: Metrics) -> Metrics:
    """The counts of both."""
    return jax.tree.map(jnp.add, a, b)


def summarize(counts: Mapping[str, Array]) -> dict[str, float]:
    """Turns counts into means: `loss`, `accuracy`, `top5_accuracy`, and `count` itself.

    Waits for the device. With no examples counted, means are NaN.

    >>> summarize({"loss_sum": jnp.float32(3), "count": jnp.int32(4), "correct": jnp.int32(3)})
    {'count': 4, 'loss': 0.75, 'accuracy': 0.75}
    """
    values = {name: np.asarray(value).item() for name, value in counts.items()}  # host sync
    count = values["count"]
    means: dict[str, float] = {"count": count}
    for name, value in values.items():
        if name == "loss_sum":
            means["loss"] = value / count if count else float("nan")
        elif name == "correct":
            means["accuracy"] = value / count if count else float("nan")
        elif name.startswith("correct_top"):
            k = name.removeprefix("correct_top")
            means[f"top{k}_accuracy"] = value / count if count else float("nan")
    return means


def confusion_matrix(predicted: Array, labels: Array, classes: int, mask: Array) -> Array:
    """Counts by [true class, predicted class], [K, K] int32, which add up over batches.

    >>> p, t = jnp.asarray([0, 1, 1]), jnp.asarray([0, 0, 1])
    >>> confusion_matrix(p, t, 2, jnp.ones(3, bool)).tolist()
    [[1, 1], [0, 1]]
    """
    cells = jnp.zeros((classes, classes), jnp.int32)
    return cells.at[class_of(labels), predicted].add(mask.astype(jnp.int32))


def class_of(labels: Array) -> Array:
    """Integer classes [N] of integer labels [N] or of probabilities [N, K]."""
    return labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
