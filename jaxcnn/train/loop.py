"""`fit`: an explicit loop over the public pieces. Copy it where you need another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import metrics, optim
from jaxcnn.data.batches import Augment, epoch_order, steps_per_epoch, train_batch
from jaxcnn.data.dataset import Dataset
from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.layer import Layer
from jaxcnn.train.clock import Clock
from jaxcnn.train.evaluate import make_evaluator
from jaxcnn.train.fault import find_fault
from jaxcnn.train.state import TrainState, init_train_state
from jaxcnn.train.step import Prepare, as_stored, make_eval_step, make_train_step
from jaxcnn.typing import Array, Key, Loss

Record = dict[str, Any]
"""One line of the metrics log: plain numbers and strings."""


class Fit(NamedTuple):
    """What `fit` returns."""

    train_state: TrainState
    finished: bool  # False if `should_stop` ended it early
    history: list[Record]
    seconds: dict[
        str, float
    ]  # wall time by part: "init", "compile", "train", "eval", "checkpoints"


def fit(
    model: Layer,
    dataset: Dataset,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    seed: int,
    prepare: Prepare = as_stored,
    augment: Augment | None = None,
    evaluate_on: Mapping[str, Dataset] | None = None,
    eval_batch_size: int = 500,
    train_state: TrainState | None = None,
    log_every: int = 50,
    top_k: Sequence[int] = (1,),
    on_ready: Callable[[dict[str, float]], None] = lambda seconds: None,
    on_record: Callable[[Record], None] = lambda record: None,
    on_epoch: Callable[[int, TrainState], None] = lambda epoch, train_state: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Trains `model` on `dataset`, which is held on the device as it is stored.

    The result is a function of the arguments: the order of examples of (seed, epoch), their
    augmentation of (seed, epoch, row), dropout of (seed, step). Given the train state of an
    earlier call that stopped, it goes on as if that call had not stopped.

    Args:
      model: the network.
      dataset: training examples.
      loss: `(outputs, labels) -> [N]`.
      optimizer: from `optim.optimizer`, or any optax chain ending in `optim.scale_by_rate`.
      epochs: passes over the data in all, those of an earlier call included.
      batch_size: rows of a step; the last batch of an epoch is filled up and masked.
      seed: decides everything random.
      prepare: stored to floating images, inside the compiled step.
      augment: `(key, image) -> image`, or None.
      evaluate_on: sets to evaluate after each epoch, by name.
      eval_batch_size: rows at a time in evaluation.
      train_state: where to go on; None starts anew. It is not modified.
      log_every: steps of an interval; the metrics of an interval are fetched one interval
        late, so that the device never waits.
      top_k: see `metrics.classification`.
      on_ready: called once before the first step with the seconds of "init" and "compile".
      on_record: called with each line of the log.
      on_epoch: called after each epoch, and its evaluation, with the epochs done and the state.
        The state is only lent: copy what is to be kept.
      should_stop: asked after each step; True ends the training there.

    Returns:
      A `Fit`.

    Raises:
      ConfigError: a number is out of range, or `train_state` is ahead of `epochs`.
      NumericalError: a loss or gradient was not finite; names step and layer. Its attribute
        `train_state` is the state before that step.
    """
    for name, number in (("epochs", epochs), ("log_every", log_every)):
        if not isinstance(number, int) or number < 1:
            raise ConfigError(f"{name}={number!r} is not allowed: expected a positive int.")
    per_epoch = steps_per_epoch(len(dataset), batch_size)
    clock = Clock()
    key = jax.random.key(seed)
    if train_state is None:
        ts = init_train_state(model, optimizer, key, dataset.image_shape)
    else:
        ts = jax.tree.map(jnp.copy, train_state)  # the steps below consume their input
    step = int(ts.step)
    if step > epochs * per_epoch:
        raise ConfigError(
            f"the train state has made {step} steps, more than epochs={epochs} of {per_epoch}."
        )
    images, labels = jnp.asarray(dataset.images), jnp.asarray(dataset.labels)
    evaluators = {
        name: make_evaluator(
            make_eval_step(model, loss, prepare=prepare, top_k=top_k), held, eval_batch_size
        )
        for name, held in (evaluate_on or {}).items()
    }
    train_step = make_train_step(model, loss, optimizer, prepare=prepare, top_k=top_k)

    def batch_at(step: Array, order: Array, images: Array, labels: Array, key: Key) -> Any:
        epoch, position = step // per_epoch, step % per_epoch
        return train_batch(
            images, labels, order, key,
            epoch=epoch, position=position, batch_size=batch_size, augment=augment,
        )  # fmt: skip

    def advance(
        ts: TrainState, counts: Any, order: Array, images: Array, labels: Array, key: Key
    ) -> tuple[TrainState, Any, Array]:
        ts, new = train_step(ts, batch_at(ts.step, order, images, labels, key), key)
        return ts, metrics.add(counts, new), optim.learning_rate(ts.opt_state)

    make_order = jax.jit(epoch_order, static_argnums=(2, 3))
    order = make_order(key, step // per_epoch, len(dataset), batch_size)
    shapes = jax.eval_shape(
        lambda ts, *args: train_step(ts, batch_at(ts.step, *args), args[-1])[1],
        ts, order, images, labels, key,
    )  # fmt: skip

    def zero() -> Any:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    jax.block_until_ready(ts)
    clock.lap("init")
    lowered = jax.jit(advance, donate_argnums=(0, 1)).lower(ts, zero(), order, images, labels, key)
    run = lowered.compile()
    clock.lap("compile")
    on_ready(dict(clock.seconds))

    history: list[Record] = []
    pending: _Interval | None = None
    counts = zero()

    def emit(record: Record) -> None:
        history.append(record)
        on_record(record)

    def report(interval: _Interval | None) -> None:
        """Fetches the counts of an interval, which the device has long finished or must now."""
        if interval is None:
            return
        if np.asarray(interval.counts["nonfinite"]):  # host sync here
            where = find_fault(
                model, loss, ts, batch_at(ts.step, order, images, labels, key), key, prepare
            )
            error = NumericalError(
                f"training stopped at step {int(ts.step)} (epoch {int(ts.step) // per_epoch + 1}): "
                f"{where} is not finite.\n"
                "The state before that step was kept. Try a lower learning rate or clip_norm."
            )
            error.train_state = ts  # type: ignore[attr-defined]
            raise error
        now = clock.now()
        means = metrics.summarize({k: v for k, v in interval.counts.items() if k != "nonfinite"})
        emit(
            {
                "kind": "train",
                "step": interval.step,
                "epoch": round(interval.step / per_epoch, 4),
                **means,
                "learning_rate": np.asarray(interval.rate).item(),
                "images_per_second": round(means["count"] / max(now - clock.reported, 1e-9), 1),
            }
        )
        clock.reported = now

    finished = True
    clock.reported = clock.now()
    while step < epochs * per_epoch:
        ts, counts, rate = run(ts, counts, order, images, labels, key)
        step += 1
        epoch_over = step % per_epoch == 0
        stop = should_stop()
        if epoch_over or stop or (step % per_epoch) % log_every == 0:
            report(pending)
            pending = _Interval(step, counts, rate)
            counts = zero()
        if stop:
            finished = False
            break
        if epoch_over:
            epoch = step // per_epoch
            report(pending)
            pending = None
            clock.lap("train")
            for name, evaluator in evaluators.items():
                result = metrics.summarize(evaluator(ts.params, ts.state))  # host sync here
                emit({"kind": "eval", "split": name, "step": step, "epoch": epoch, **result})
            clock.lap("eval")
            on_epoch(epoch, ts)
            clock.lap("checkpoints")
            clock.reported = clock.now()
            if epoch < epochs:
                order = make_order(key, epoch, len(dataset), batch_size)
    report(pending)
    jax.block_until_ready(ts)
    clock.lap("train")
    return Fit(ts, finished, history, clock.seconds)


class _Interval(NamedTuple):
    """Counts of a stretch of steps, still on the device."""

    step: int
    counts: Any
    rate: Array
