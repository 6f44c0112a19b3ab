"""Loss functions: `(outputs, labels) -> the loss of each example`, [N].

Averaging is left to the training step, which alone knows which rows are padding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, describe


def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    """Cross-entropy of the softmax of `logits` with `labels`, in nats.

    `loss = -sum_k t_k log softmax(logits)_k` with `t = (1 - a) labels + a / K`.

    Args:
      logits: [N, K], floating, before any softmax.
      labels: [N] integer classes in 0 .. K-1, or [N, K] probabilities such as one-hot rows.
      label_smoothing: a, the weight of the uniform distribution, in [0, 1).

    Returns:
      [N], float32 or wider. A label outside 0 .. K-1 gives NaN: nothing can be raised inside
      compiled code, and JAX's indexing would train class K-1 on label -1.

    Raises:
      ShapeError: the shapes do not fit.
      ConfigError: `label_smoothing` is outside [0, 1).

    >>> logits = jnp.log(jnp.asarray([[0.7, 0.2, 0.1]]))
    >>> print(softmax_cross_entropy(logits, jnp.asarray([0])).round(4))
    [0.3567]
    >>> print(softmax_cross_entropy(logits, jnp.asarray([[1.0, 0.0, 0.0]])).round(4))
    [0.3567]

    Source: decks A to E; label smoothing: Szegedy et al. 2016.
    """
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing={label_smoothing!r} is not allowed: use [0, 1).")
    integer = jnp.issubdtype(labels.dtype, jnp.integer)
    if logits.ndim != 2 or labels.shape != (logits.shape[:1] if integer else logits.shape):
        raise ShapeError(
            f"got logits {describe(logits)} and labels {describe(labels)}, expected logits "
            "[N, K] with integer labels [N] or floating labels [N, K]."
        )
    classes = logits.shape[-1]
    logs = jax.nn.log_softmax(widen(logits), axis=-1)
    if integer:
        picked = jnp.take_along_axis(logs, labels[:, None], axis=-1, mode="clip")[:, 0]
        inside = (labels >= 0) & (labels < classes)
        of_label = jnp.where(inside, picked, jnp.nan)
    else:
        of_label = jnp.sum(labels.astype(logs.dtype) * logs, axis=-1)
    if not label_smoothing:
        return -of_label
    return -(1 - label_smoothing) * of_label - label_smoothing * jnp.mean(logs, axis=-1)
