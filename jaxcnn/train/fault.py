"""Names the place where a step stopped being finite."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.api import apply
from jaxcnn.layer import Layer, subkey
from jaxcnn.train.precision import Prepare
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import all_finite
from jaxcnn.typing import Array, Batch, Key, Loss, Params


def find_fault(
    model: Layer, loss: Loss, ts: TrainState, batch: Batch, key: Key, prepare: Prepare
) -> str:
    """Repeats the step at `ts` and says what is first not finite in it.

    Looks, in this order, at the parameters, the prepared images, the output of each layer in
    the order of execution, the loss and the gradients.

    Returns:
      A phrase such as "the output of layer 'conv2'".
    """
    for path, leaf in _leaves(ts.params):
        if not all_finite(leaf):
            return f"parameter {path!r}"
    images = prepare(batch.images)
    if not all_finite(images):
        return "the prepared images"
    bad: list[str] = []

    def watch(path: str, layer: Layer, x: Array, y: Array) -> Array:
        del layer, x  # only the output matters
        if not bad and not all_finite(y):
            bad.append(path)
        return y

    step_key = jax.random.fold_in(subkey(key, "step"), ts.step)

    def forward(params: Params) -> Array:
        logits, _ = apply(
            model, params, ts.state, images, train=True, key=step_key, mask=batch.mask
        )
        return jnp.sum(jnp.where(batch.counted, loss(logits, batch.labels), 0.0))

    logits, _ = apply(
        model, ts.params, ts.state, images, train=True, key=step_key, mask=batch.mask, tap=watch
    )
    if bad:
        return f"the output of layer {bad[0]!r}"
    if not all_finite(jnp.where(batch.counted, loss(logits, batch.labels), 0.0)):
        return "the loss (every layer's output is finite)"
    for path, leaf in _leaves(jax.grad(forward)(ts.params)):
        if not all_finite(leaf):
            return f"the gradient of parameter {path!r}"
    return "an operation that is finite when repeated"


def _leaves(tree: Params) -> list[tuple[str, Array]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
