"""Running statistics of batch norm, computed anew over a whole data set."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import nn
from jaxcnn.api import apply
from jaxcnn.data.batches import eval_batch, steps_per_epoch
from jaxcnn.data.dataset import Dataset
from jaxcnn.layer import Layer
from jaxcnn.train.precision import Prepare, as_stored
from jaxcnn.typing import Array, Params, State


def recalibrate(
    model: Layer,
    params: Params,
    state: State,
    dataset: Dataset,
    *,
    prepare: Prepare = as_stored,
    batch_size: int = 500,
) -> State:
    """Replaces the running statistics of every `BatchNorm` by those of `dataset`.

    Running statistics trail the parameters by some hundred steps, and are wrong after
    parameters were averaged or taken over from elsewhere. Each batch is normalized by its own
    statistics, as in training, with dropout off; the result combines the batches exactly:
    `mean = sum w_i m_i`, `var = sum w_i (v_i + (m_i - mean)^2)`, `w_i` the share of examples.

    Args:
      model, params, state: the network; other state than batch norm's is returned as it is.
      dataset: usually the training set, without augmentation.
      prepare: as in training.
      batch_size: examples that are normalized together.

    Returns:
      The new state.
    """

    def plain(layer: Layer) -> Layer:
        if isinstance(layer, nn.BatchNorm):
            return dataclasses.replace(layer, decay=0.0)  # so that its state is the batch's
        return nn.identity if isinstance(layer, nn.Dropout) else layer

    probe = nn.replace_layers(model, plain)
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)

    @jax.jit
    def statistics(params: Params, state: State, position: Array) -> State:
        batch = eval_batch(images, labels, position, batch_size)
        return apply(probe, params, state, prepare(batch.images), train=True, mask=batch.mask)[1]

    steps = steps_per_epoch(len(dataset), batch_size)
    parts = [statistics(params, state, np.int32(i)) for i in range(steps)]
    rows = [min(batch_size, len(dataset) - i * batch_size) for i in range(steps)]
    shares = np.asarray(rows, np.float64) / len(dataset)

    def combine(old: Any, new: list[Any]) -> Any:
        if isinstance(old, dict) and set(old) == {"mean", "var"}:
            means = np.stack([np.asarray(part["mean"], np.float64) for part in new])
            variances = np.stack([np.asarray(part["var"], np.float64) for part in new])
            mean = shares @ means
            var = shares @ (variances + np.square(means - mean))
            return {
                "mean": jnp.asarray(mean, old["mean"].dtype),
                "var": jnp.asarray(var, old["var"].dtype),
            }
        if isinstance(old, dict):
            return {name: combine(old[name], [part[name] for part in new]) for name in old}
        return old

    combined: State = combine(state, parts)
    return combined
