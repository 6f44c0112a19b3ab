"""Metrics as counts that add up over batches, devices and hosts.

A mean of batch means is wrong as soon as one batch is smaller. So steps return sums, and
only the last reader divides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, Metrics, describe


def correct_top_k(logits: Array, labels: Array, k: int = 1) -> Array:
    """Whether the label is among the k largest logits, [N] bool.

    Of equal logits the lower class counts as the larger, as in `argmax`.

    Args:
      logits: [N, K]; [N, 1] is the one logit of a binary classifier, class 1 if positive.
      labels: [N] integer classes, or [N, K] probabilities (their largest is the class);
        for logits [N, 1], [N] or [N, 1], 0 and 1 or -1 and +1.
      k: how many logits may be tried, 1 .. K.

    Raises:
      ShapeError: `logits` are not [N, K] or k is outside 1 .. K.

    >>> logits = jnp.asarray([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]])
    >>> correct_top_k(logits, jnp.asarray([2, 0])).tolist()
    [False, True]
    >>> correct_top_k(logits, jnp.asarray([2, 0]), k=2).tolist()
    [True, True]
    """
    if logits.ndim != 2:
        raise ShapeError(f"got logits {describe(logits)}, expected [N, K], or [N, 1] if binary.")
    if not 1 <= k <= logits.shape[-1]:
        raise ShapeError(f"k={k} is not allowed for logits {describe(logits)}: use 1 .. K.")
    if logits.shape[-1] == 1:  # argmax would be 0 always
        return (logits[:, 0] > 0) == (labels.reshape(-1).astype(jnp.float32) > 0.5)
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

    Args:
      predicted: [N] integer classes, for example `argmax(logits, -1)`.
      labels: [N] integer classes or [N, K] probabilities; examples whose label is outside
        0 .. K-1 count nowhere.
      classes: K.
      mask: [N] bool; rows where it is False count nowhere.

    >>> p, t = jnp.asarray([0, 1, 1]), jnp.asarray([0, 0, 1])
    >>> confusion_matrix(p, t, 2, jnp.ones(3, bool)).tolist()
    [[1, 1], [0, 1]]
    """
    labels = class_of(labels)
    inside = (labels >= 0) & (labels < classes)  # index -1 would be class K-1
    cells = jnp.zeros((classes, classes), jnp.int32)
    return cells.at[labels, predicted].add((mask & inside).astype(jnp.int32), mode="drop")


def per_class_accuracy(confusion: Array) -> np.ndarray:
    """Of the examples of each true class, the fraction predicted right, [K] float64.

    NaN for a class without examples. Waits for the device.

    Args:
      confusion: [K, K] counts, as `confusion_matrix` makes them.

    >>> print(per_class_accuracy(jnp.asarray([[3, 1], [0, 2]])))
    [0.75 1.  ]
    """
    counts = np.asarray(confusion)  # host sync
    of_class = counts.sum(axis=1)
    right = np.full(len(counts), np.nan)
    return np.divide(np.diagonal(counts), of_class, out=right, where=of_class > 0)


def calibration(logits: Array, labels: Array, mask: Array, *, bins: int = 15) -> dict[str, Array]:
    """Counts of one batch by confidence, for `expected_calibration_error`; they add up.

    The confidence of an example is its largest softmax probability. Bin b of B holds
    confidences in (b / B, (b + 1) / B].

    Args:
      logits: [N, K], K at least 2.
      labels: [N] integer classes or [N, K] probabilities.
      mask: [N] bool; rows where it is False count nowhere.
      bins: B, the number of bins.

    Returns:
      `bin_count` and `bin_correct` [B] int32, `bin_confidence` [B] (a sum), float32 or wider.

    Raises:
      ShapeError: `logits` are not [N, K] with K at least 2.
      ConfigError: `bins` is not positive.

    Source: Guo et al. 2017.
    """
    if logits.ndim != 2 or logits.shape[-1] < 2:
        raise ShapeError(f"got logits {describe(logits)}, expected [N, K] with K at least 2.")
    if bins < 1:
        raise ConfigError(f"bins={bins!r} is not allowed: expected a positive int.")
    confidence = jnp.max(jax.nn.softmax(widen(logits), axis=-1), axis=-1)
    bin_of = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    hit = correct_top_k(logits, labels) & mask

    def total(values: Array) -> Array:
        return jnp.zeros(bins, values.dtype).at[bin_of].add(values)

    return {
        "bin_count": total(mask.astype(jnp.int32)),
        "bin_correct": total(hit.astype(jnp.int32)),
        "bin_confidence": total(jnp.where(mask, confidence, 0.0)),
    }


def expected_calibration_error(counts: Mapping[str, Array]) -> float:
    """Mean distance of confidence from accuracy, `sum_b n_b / n |acc_b - conf_b|`, in [0, 1].

    Waits for the device. With no examples counted it is NaN.

    Args:
      counts: those of `calibration`, added up over batches.

    >>> logits = jnp.asarray([[100.0, 0.0], [100.0, 0.0]])  # sure both times, right once
    >>> counts = calibration(logits, jnp.asarray([0, 1]), jnp.ones(2, bool))
    >>> expected_calibration_error(counts)
    0.5
    """
    count, correct, confidence = (
        np.asarray(counts[name]).astype(np.float64)  # host sync
        for name in ("bin_count", "bin_correct", "bin_confidence")
    )
    # n_b / n |correct_b / n_b - confidence_b / n_b|: n_b cancels, and empty bins add 0.
    total = count.sum()
    return float(np.abs(correct - confidence).sum() / total) if total else float("nan")


def class_of(labels: Array) -> Array:
    """Integer classes [N] of integer labels [N] or of probabilities [N, K]."""
    return labels if labels.ndim == 1 else jnp.argmax(labels, axis=-1)
