"""One training step and one evaluation step, as pure functions.

Jit, scan, shard or map them outside. Randomness of a step is a function of the run's key
and the step's number, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxcnn import metrics
from jaxcnn.api import apply
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer, subkey
from jaxcnn.train import guard
from jaxcnn.train.precision import FLOAT32, Precision, Prepare, as_stored
from jaxcnn.train.state import TrainState
from jaxcnn.typing import Array, Batch, Key, Loss, Params, State

TrainStep = Callable[[TrainState, Batch, Key], tuple[TrainState, dict[str, Array]]]
EvalStep = Callable[[Params, State, Batch], dict[str, Array]]


def make_train_step(
    model: Layer,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    prepare: Prepare = as_stored,
    precision: Precision = FLOAT32,
    axis_name: str | None = None,
    accumulate: int = 1,
    top_k: Sequence[int] = (1,),
) -> TrainStep:
    """Makes the pure function `(train_state, batch, key) -> (train_state, counts)`.

    The objective is the mean loss of the rows that `batch.mask` admits. A step that is not
    finite, in its loss, its gradient or what it would leave, changes nothing, not even the
    step's number, and counts under `nonfinite` (see `guard.accept`): so the state from before
    the fault is still there to be examined and saved.

    Args:
      model: the network.
      loss: `(outputs, labels) -> [N]`, such as `losses.softmax_cross_entropy`.
      optimizer: any optax transformation.
      prepare: turns stored images into floating ones, inside the compiled step.
      precision: dtypes of the network's inputs and outputs; see `Precision`.
      axis_name: mapped axis over which the batch is split (`shard_map`, `pmap`): batch
        statistics, gradients and counts are then those of the whole batch. None: the
        function sees the whole batch.
      accumulate: how many parts the rows are computed in, one after another, so that only one
        part's activations are in memory. The gradient is that of the whole batch. Batch norm
        normalizes each part by itself and moves its running statistics once a part; dropout
        draws for each part.
      top_k: see `metrics.classification`.

    Returns:
      The step. `key` is the run's key, the same for every step; each step folds its number
      into it. Counts: `loss_sum`, `count`, `correct` and `nonfinite` (steps).
    """

    def total(value: Array) -> Array:
        return value if axis_name is None else jax.lax.psum(value, axis_name)

    def train_step(ts: TrainState, batch: Batch, key: Key) -> tuple[TrainState, dict[str, Array]]:
        step_key = jax.random.fold_in(subkey(key, "step"), ts.step)
        params = ts.params
        if axis_name is not None:
            # Keeps the gradient local to the device until it is summed below; without it,
            # shard_map would have summed it already.
            params = jax.lax.pcast(params, axis_name, to="varying")
        count = jnp.maximum(total(jnp.sum(batch.counted, dtype=jnp.float32)), 1)

        def objective(params: Params, state: State, batch: Batch, key: Key) -> Any:
            logits, state = apply(
                model,
                params,
                state,
                precision.preparing(prepare)(batch.images),
                train=True,
                key=key,
                axis_name=axis_name,
                mask=batch.mask,
            )
            logits = precision.finish(logits)
            per_example = loss(logits, batch.labels)
            mean = jnp.sum(jnp.where(batch.counted, per_example, 0.0)) / count
            counts = metrics.classification(per_example, logits, batch.labels, batch.counted, top_k)
            return mean, (state, counts)

        gradient = jax.grad(objective, has_aux=True)
        if accumulate == 1:
            grads, (state, counts) = gradient(params, ts.state, batch, step_key)
        else:
            grads, (state, counts) = _accumulated(
                gradient, accumulate, params, ts.state, batch, step_key
            )
        grads = jax.tree.map(total, grads)
        counts = jax.tree.map(total, counts)

        def update(grads: Params, ts: TrainState) -> TrainState:
            updates, opt_state = optimizer.update(grads, ts.opt_state, ts.params)
            params = optax.apply_updates(ts.params, updates)
            return TrainState(optax.safe_increment(ts.step), params, state, opt_state)

        return guard.accept(update, ts, counts, grads)

    return train_step


def _accumulated(
    gradient: Callable[..., Any], parts: int, params: Params, state: State, batch: Batch, key: Key
) -> Any:
    """Sums gradients and counts over the parts of a batch, and hands the state through them.

    A part takes every `parts`-th row, so that rows stay on the device that has them.
    """
    rows = batch.labels.shape[0]
    if rows % parts:
        raise ConfigError(
            f"accumulate={parts} does not divide the {rows} rows of a step on one device."
        )
    split = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(rows // parts, parts, *x.shape[1:]), 1, 0), batch
    )

    def one(state: State, number: Array, part: Batch) -> Any:
        grads, (state, counts) = gradient(params, state, part, jax.random.fold_in(key, number))
        return state, (grads, counts)

    def more(carry: Any, numbered: Any) -> Any:
        state, sums = carry
        state, new = one(state, *numbered)
        return (state, jax.tree.map(jnp.add, sums, new)), None

    numbers = jnp.arange(parts, dtype=jnp.int32)
    first = jax.tree.map(lambda x: x[0], split)
    rest = jax.tree.map(lambda x: x[1:], (numbers, split))
    (state, (grads, counts)), _ = jax.lax.scan(more, one(state, numbers[0], first), rest)
    return grads, (state, counts)


def make_eval_step(
    model: Layer,
    loss: Loss,
    *,
    prepare: Prepare = as_stored,
    precision: Precision = FLOAT32,
    top_k: Sequence[int] = (1,),
) -> EvalStep:
    """Makes the pure function `(params, state, batch) -> counts`; arguments as above."""

    def eval_step(params: Params, state: State, batch: Batch) -> dict[str, Array]:
        logits, _ = apply(model, params, state, precision.preparing(prepare)(batch.images))
        logits = precision.finish(logits)
        per_example = loss(logits, batch.labels)
        return metrics.classification(per_example, logits, batch.labels, batch.counted, top_k)

    return eval_step
