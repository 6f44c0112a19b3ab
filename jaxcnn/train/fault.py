"""Names the place where a step stopped being finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.api import apply
from jaxcnn.layer import Layer, subkey
from jaxcnn.train.guard import all_finite, check_of, moments
from jaxcnn.train.precision import Prepare
from jaxcnn.train.state import TrainState
from jaxcnn.typing import Array, Batch, Key, Loss, Params


class Fault(NamedTuple):
    """A step that was not finite, with all that is needed to repeat it.

    Attributes:
      step: its number.
      place: what is first not finite in it, such as "the output of layer 'conv2'".
      train_state: from before the step.
      batch: its examples, as stored, after augmentation.
      key: the run's key.
    """

    step: int
    place: str
    train_state: TrainState
    batch: Batch
    key: Key


def find_fault(
    model: Layer,
    loss: Loss,
    ts: TrainState,
    batch: Batch,
    key: Key,
    prepare: Prepare,
    optimizer: optax.GradientTransformation | None = None,
) -> str:
    """Repeats the step at `ts`, operation by operation, and says what is first not finite.

    Looks, in this order, at what the step starts from (parameters, running statistics, the
    optimizer's state), the prepared images, the output of each layer in the order of execution,
    the loss, the gradients, and what the step would leave; at last at the sum of these, which the
    step's check may refuse too (`guard.addable`).

    Args:
      model, loss, optimizer: of the step; without the optimizer the last part is left out.
      ts: the train state before the step.
      batch: its examples.
      key: the run's key.
      prepare: from stored images to the network's input.

    Returns:
      A phrase such as "the output of layer 'conv2'".
    """
    for place in _bad_places(ts):
        return f"{place} before the step"
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

    def forward(params: Params, tap: Any = None) -> tuple[Array, Any]:
        logits, state = apply(
            model, params, ts.state, images, train=True, key=step_key, mask=batch.mask, tap=tap
        )
        total = jnp.sum(jnp.where(batch.counted, loss(logits, batch.labels), 0.0))
        return total / jnp.maximum(jnp.sum(batch.counted, dtype=total.dtype), 1), state

    value, _ = forward(ts.params, watch)
    if bad:
        return f"the output of layer {bad[0]!r}"
    if not all_finite(value):
        return "the loss (every layer's output is finite)"
    grads, state = jax.grad(forward, has_aux=True)(ts.params)
    for path, leaf in _leaves(grads):
        if not all_finite(leaf):
            return f"the gradient of parameter {path!r}"
    left = ts._replace(state=state)
    if optimizer is not None:
        updates, opt_state = optimizer.update(grads, ts.opt_state, ts.params)
        params = optax.apply_updates(ts.params, updates)
        left = TrainState(ts.step, params, state, opt_state)
    for place in _bad_places(left):
        return f"{place} after the update (loss and gradients are finite)"
    if not check_of(ts)((grads, left.params, left.state, moments(left.opt_state))):
        return "the sum of gradients, parameters and the optimizer's state (each is finite)"
    return "an operation that is finite when repeated"


def largest(model: Layer, fault: Fault, prepare: Prepare) -> list[tuple[str, float]]:
    """The largest magnitude of the input and of each layer's output, in order of execution.

    For the step of `fault`: where numbers grow before one is not finite. NaN where one is NaN.
    """
    ts, batch = fault.train_state, fault.batch
    images = prepare(batch.images)
    found = [("(input)", float(jnp.max(jnp.abs(images))))]

    def watch(path: str, layer: Layer, x: Array, y: Array) -> Array:
        del layer, x
        found.append((path, float(jnp.max(jnp.abs(y)))))  # host sync here
        return y

    key = jax.random.fold_in(subkey(fault.key, "step"), ts.step)
    apply(model, ts.params, ts.state, images, train=True, key=key, mask=batch.mask, tap=watch)
    return found


def _bad_places(ts: TrainState) -> Iterator[str]:
    """What is not finite in a train state."""
    for path, leaf in _leaves(ts.params):
        if not all_finite(leaf):
            yield f"parameter {path!r}"
    for path, leaf in _leaves(ts.state):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not all_finite(leaf):
            yield f"running statistic {path!r}"
    for path, leaf in _leaves(ts.opt_state):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        if floating and moments(leaf) and not all_finite(leaf):
            yield f"the optimizer's {path!r}"


def _leaves(tree: Any) -> list[tuple[str, Array]]:
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
