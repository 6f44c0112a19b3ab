"""Evaluation over a whole data set: every example counts once."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn import metrics
from jaxcnn.api import apply
from jaxcnn.data.batches import eval_batch, steps_per_epoch
from jaxcnn.data.dataset import Dataset
from jaxcnn.layer import Layer
from jaxcnn.train.step import EvalStep, Prepare, as_stored
from jaxcnn.typing import Array, Metrics, Params, State

Evaluator = Callable[[Params, State], Metrics]


def make_evaluator(eval_step: EvalStep, dataset: Dataset, batch_size: int) -> Evaluator:
    """Puts `dataset` on the device and returns `(params, state) -> counts over all of it`.

    Args:
      eval_step: from `make_eval_step`.
      dataset: what to evaluate.
      batch_size: rows at a time; the result does not depend on it but for rounding.
    """
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    steps = steps_per_epoch(len(dataset), batch_size)

    @jax.jit
    def count(
        params: Params, state: State, images: Array, labels: Array, position: Array
    ) -> Metrics:
        return eval_step(params, state, eval_batch(images, labels, position, batch_size))

    def evaluate(params: Params, state: State) -> Metrics:
        parts = [count(params, state, images, labels, np.int32(i)) for i in range(steps)]
        whole = parts[0]
        for part in parts[1:]:
            whole = metrics.add(whole, part)
        return whole

    return evaluate


def predict(
    model: Layer,
    params: Params,
    state: State,
    dataset: Dataset,
    *,
    prepare: Prepare = as_stored,
    batch_size: int = 500,
) -> NDArray[np.float32]:
    """The network's outputs for every example of `dataset`, in order, [N, K] on the host."""

    @jax.jit
    def run(params: Params, state: State, images: Array) -> Array:
        return apply(model, params, state, prepare(images))[0]

    outputs = []
    for start in range(0, len(dataset), batch_size):
        images = dataset.images[start : start + batch_size]
        rows = len(images)
        padded = np.resize(images, (batch_size, *images.shape[1:]))  # one compiled shape
        outputs.append(np.asarray(run(params, state, padded))[:rows])
    return np.concatenate(outputs)
