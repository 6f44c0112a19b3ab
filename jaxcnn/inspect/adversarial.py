"""Fooling a network by its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.api import apply
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional import check
from jaxcnn.inspect.batches import over_batches
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Loss, Params, State, describe


class Robustness(NamedTuple):
    """One row of a table: how many images stay right when pixels may move by `epsilon`."""

    epsilon: float
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """The fraction predicted right."""
        return self.correct / self.total


def fast_gradient_sign(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    labels: Array,
    epsilon: float,
    loss: Loss,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> Array:
    """Adversarial examples: `clip(x + epsilon sign(dE / dx), low, high)`, E the loss.

    Of all changes by at most epsilon a pixel, this one raises a linear loss most.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: x, [N, H, W, C], floating.
      labels: [N], the true classes (or whatever `loss` takes).
      epsilon: the largest change of a pixel, not negative.
      loss: of each example, such as `losses.softmax_cross_entropy`. Use a module-level
        function: a new lambda is compiled anew.
      low, high: the range of pixels.

    Returns:
      [N, H, W, C]. Where the gradient is zero, as for a loss that has underflowed, a pixel stays.

    Raises:
      ConfigError: epsilon is negative, or `low` is not below `high`.
      ShapeError: the images are not floating [N, H, W, C].

    Source: Goodfellow, Shlens and Szegedy 2015; deck E.
    """
    _check_range((epsilon,), low, high)
    signs = _signs(model, params, state, images, labels, loss)
    return jnp.clip(images + epsilon * signs, low, high)


def accuracy_against_epsilon(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    labels: Array,
    epsilons: Sequence[float],
    loss: Loss,
    *,
    low: float = 0.0,
    high: float = 1.0,
    batch_size: int = 500,
) -> list[Robustness]:
    """Accuracy on adversarial examples of several strengths.

    Args:
      model, params, state, images, loss, low, high: as for `fast_gradient_sign`.
      labels: [N] integer classes.
      epsilons: the strengths; 0 gives the ordinary accuracy.
      batch_size: images at a time; the result does not depend on it.

    Returns:
      A `Robustness(epsilon, correct, total)` for each epsilon, in order. Waits for the device.

    Raises:
      ConfigError, ShapeError: as `fast_gradient_sign`; or the logits are not [N, K] with K at
        least 2, or there are not as many labels as images.
    """
    _check_range(epsilons, low, high)
    strengths = jnp.asarray(epsilons, images.dtype)

    def run(mask: Array, images: Array, labels: Array) -> Array:
        return _count(model, params, state, images, labels, mask, strengths, low, high, loss=loss)

    parts = [np.asarray(part) for part, _ in over_batches(run, (images, labels), batch_size)]
    correct = np.sum(parts, axis=0)  # host sync
    return [
        Robustness(float(epsilon), int(right), len(labels))
        for epsilon, right in zip(epsilons, correct, strict=True)
    ]


@partial(jax.jit, static_argnames=("model", "loss"))
def _signs(
    model: Layer, params: Params, state: State, images: Array, labels: Array, loss: Loss
) -> Array:
    check.images(images, spatial=2)

    def total(images: Array) -> Array:
        return jnp.sum(loss(apply(model, params, state, images)[0], labels))

    return jnp.sign(jax.grad(total)(images))


@partial(jax.jit, static_argnames=("model", "loss"))
def _count(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    labels: Array,
    mask: Array,
    epsilons: Array,
    low: float,
    high: float,
    *,
    loss: Loss,
) -> Array:
    """How many of the unmasked images stay right, for each epsilon."""
    signs = _signs(model, params, state, images, labels, loss)  # the same for all of them

    def correct(epsilon: Array) -> Array:
        logits, _ = apply(model, params, state, jnp.clip(images + epsilon * signs, low, high))
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ShapeError(f"got logits {describe(logits)}, expected [N, K] with K at least 2.")
        predicted = jnp.argmax(logits, axis=-1).astype(labels.dtype)
        return jnp.sum((predicted == labels) & mask, dtype=jnp.int32)

    return jax.lax.map(correct, epsilons)


def _check_range(epsilons: Sequence[float], low: float, high: float) -> None:
    for epsilon in epsilons:
        if not epsilon >= 0:
            raise ConfigError(f"epsilon={epsilon!r} is not allowed: expected 0 or more.")
    if not low < high:
        raise ConfigError(f"low={low!r}, high={high!r} is not allowed: low must be below high.")
