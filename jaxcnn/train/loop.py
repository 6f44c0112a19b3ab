"""`fit`: an explicit loop over the public pieces. Copy it where you need another one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import metrics, optim
from jaxcnn.data.ahead import Throughput
from jaxcnn.data.batches import Augment, Mix, train_batch
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.stream import Stream
from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.layer import Layer
from jaxcnn.parallel.agree import Vote, least
from jaxcnn.parallel.plan import Parallel, plan
from jaxcnn.train.clock import Clock
from jaxcnn.train.control import Control, Monitored, Progress
from jaxcnn.train.evaluate import make_evaluator
from jaxcnn.train.fault import Fault, find_fault
from jaxcnn.train.feed import make_feed
from jaxcnn.train.nonfinite import (
    SKIP,
    OnNonfinite,
    leave_out,
    left_out,
    room,
    stopped,
    with_context,
    with_rollback,
    with_skipped,
)
from jaxcnn.train.pace import Pace
from jaxcnn.train.precision import FLOAT32, Precision, Prepare, as_stored
from jaxcnn.train.state import TrainState, init_train_state
from jaxcnn.train.step import make_eval_step, make_train_step
from jaxcnn.typing import Array, Key, Loss, Spec

Record = dict[str, Any]
"""One line of the metrics log: plain numbers and strings."""


class Fit(NamedTuple):
    """What `fit` returns."""

    train_state: TrainState
    progress: Progress  # the train state and what the policies know: where to go on
    finished: bool  # False if `should_stop` ended it early
    history: list[Record]
    seconds: dict[
        str, float
    ]  # wall time by part: "init", "compile", "train", "eval", "checkpoints"
    throughput: Throughput | None = None  # of a stream: how long training waited for it


def fit(
    model: Layer,
    dataset: Dataset | Stream,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    seed: int,
    prepare: Prepare = as_stored,
    precision: Precision = FLOAT32,
    augment: Augment | None = None,
    mix: Mix | None = None,
    evaluate_on: Mapping[str, Dataset | Stream] | None = None,
    eval_batch_size: int = 500,
    start: TrainState | Progress | None = None,
    policies: Mapping[str, Monitored] | None = None,
    on_nonfinite: OnNonfinite = "stop",
    nonfinite_limit: int = 3,
    log_every: int = 50,
    steps_per_call: int | None = None,
    accumulate: int = 1,
    parallel: Parallel = "auto",
    devices: Sequence[jax.Device] | None = None,
    top_k: Sequence[int] = (1,),
    on_ready: Callable[[dict[str, float]], None] = lambda seconds: None,
    on_record: Callable[[Record], None] = lambda record: None,
    on_epoch: Callable[[int, Progress], None] = lambda epoch, progress: None,
    on_save: Callable[[Progress], None] = lambda progress: None,
    should_save: Callable[[], bool] = lambda: False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Fit:
    """Trains `model` on `dataset`, held on the device as it is stored, or streamed to it.

    The result is a function of the arguments: the order of examples of (seed, epoch), their
    augmentation of (seed, epoch, row), dropout of (seed, step). Given the progress of an
    earlier call that stopped, it goes on as if that call had not stopped.

    With several processes (`parallel.init_distributed`) each calls `fit` with the same
    arguments, but for its own part of a stream, and gets the same result.

    Args:
      model: the network.
      dataset: training examples: a data set in memory, or a stream of one that is larger, made
        with the same batch size and one batch a call.
      loss: `(outputs, labels) -> [N]`.
      optimizer: from `optim.optimizer`, or any optax chain ending in `optim.scale_by_rate`.
      epochs: passes over the data in all, those of an earlier call included.
      batch_size: rows of a step, all devices together (`batch_size / devices` on each); the last
        batch of an epoch is filled up and masked.
      seed: decides everything random.
      prepare: stored to floating images, inside the compiled step.
      precision: dtypes of the network's inputs and outputs, in training and evaluation.
      augment: `(key, image) -> image`, or None.
      mix: `data.Mixup` or `data.Cutmix`, or None; the loss then gets labels [N, K].
      evaluate_on: sets to evaluate after each epoch, by name.
      eval_batch_size: rows at a time in evaluation.
      start: where to go on; None starts anew. It is not modified.
      policies: by name, what to do when a metric stalls or diverges (`train.ReduceOnPlateau`,
        `StepBack`, `RetryOnDivergence`). Those that watch "train" make the host wait for each
        interval of the log. A policy may go back to an earlier step, which is then repeated.
      on_nonfinite: what to do about a step that is not finite: "stop", "skip" its batch, or
        "rollback" to an earlier state at a tenth of the rate; see `train.nonfinite`.
      nonfinite_limit: how often that is done before the training stops after all.
      log_every: steps of an interval; the metrics of an interval are fetched one interval
        late, so that the device never waits.
      steps_per_call: steps that one call of the compiled program makes, at most; None: as many
        as take a second, or up to four long ones. Python sees the training between
        calls, so it is also how long a request to stop may wait. A stream makes one.
      accumulate: parts that a device's rows are computed in, one after another, to save memory;
        the update is that of the whole batch. See `make_train_step`.
      parallel: how a step runs on many devices; see `parallel.plan`. Results agree to rounding.
      devices: which; None means all devices of all processes.
      top_k: see `metrics.classification`.
      on_ready: called once before the first step with the seconds of "init" and "compile".
      on_record: called with each line of the log.
      on_epoch: called after each epoch, and its evaluation, with the epochs done and the
        progress, which is only lent: copy what is to be kept.
      on_save: called with the progress, lent as well, where `should_save` said so.
      should_save: asked after each call; heeded at the end of an interval of the log, inside an
        epoch.
      should_stop: asked after each call; True ends the training there, or, with a policy that
        watches "train", at the end of the interval of the log. Where any of several processes
        says True, all end at the same step, one call later.

    Returns:
      A `Fit`.

    Raises:
      ConfigError: a number is out of range, or `start` is ahead of `epochs`.
      NumericalError: a step was not finite; names step and layer. Its attribute `progress` is
        that from before the step, `fault` (a `train.Fault`) is what it takes to repeat it.
    """
    for name, number in (("epochs", epochs), ("log_every", log_every)):
        if not isinstance(number, int) or number < 1:
            raise ConfigError(f"{name}={number!r} is not allowed: expected a positive int.")
    layout = plan(parallel, batch_size, devices)
    pace = Pace(steps_per_call, agree=least)
    clock = Clock()
    key = layout.replicate(jax.random.key(seed))
    feed = make_feed(dataset, batch_size, epochs, key, layout, augment, mix)
    per_epoch = feed.per_epoch
    if start is None:
        spec = network_input(dataset, prepare, augment)
        start = init_train_state(model, optimizer, jax.random.key(seed), spec, precision=precision)
    progress = start if isinstance(start, Progress) else Progress(start, {}, {})
    skipped = layout.replicate(room(on_nonfinite, nonfinite_limit, progress))
    others = {name: entry for name, entry in progress.policies.items() if name != SKIP}
    control = Control(
        with_rollback(on_nonfinite, nonfinite_limit, policies or {}),
        progress._replace(policies=others),
    )
    ts = layout.replicate(progress.train_state)  # a copy: the steps consume their input
    step = int(ts.step)
    if step > epochs * per_epoch:
        raise ConfigError(
            f"the train state has made {step} steps, more than epochs={epochs} of {per_epoch}."
        )
    count = make_eval_step(model, loss, prepare=prepare, precision=precision, top_k=top_k)
    evaluators = {
        name: make_evaluator(count, held, eval_batch_size, layout)
        for name, held in (evaluate_on or {}).items()
    }
    train_step = make_train_step(
        model,
        loss,
        optimizer,
        prepare=prepare,
        precision=precision,
        axis_name=layout.axis_name,
        accumulate=accumulate,
        top_k=top_k,
    )

    def advance(
        ts: TrainState, counts: Any, skipped: Array | None, held: Any, key: Key, span: Array
    ) -> tuple[TrainState, Any, Array | None, Array]:
        def one(_: Array, carry: tuple[TrainState, Any, Any]) -> tuple[TrainState, Any, Any]:
            ts, counts, skipped = carry
            batch = feed.batch(held, ts.step, key, layout.part())
            ts, new = train_step(ts, layout.divide(batch), key)
            ts, new, skipped = leave_out(ts, new, skipped)
            return ts, metrics.add(counts, new), skipped

        # After a step that was refused none is made until the host has noticed: a stream would
        # give it other examples than those of its number.
        first, n = span
        n = jnp.where(ts.step == first, n, 0)
        ts, counts, skipped = jax.lax.fori_loop(0, n, one, (ts, counts, skipped))
        return ts, counts, skipped, optim.learning_rate(ts.opt_state)

    held = feed.held(step % (epochs * per_epoch))
    shapes = jax.eval_shape(  # of an evaluation: it counts the same, and is traced in less time
        lambda ts, held: count(ts.params, ts.state, feed.batch(held, ts.step, key, (0, 1))),
        ts, held,
    )  # fmt: skip
    shapes["nonfinite"] = jax.ShapeDtypeStruct((), jnp.int32)

    def zero() -> Any:
        return layout.replicate(jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes))

    jax.block_until_ready(ts)
    clock.lap("init")
    run = layout.compile(
        advance,
        (ts, zero(), skipped, held, key, np.asarray((step, 1), np.int32)),
        donate=(0, 1),
        divided=(3,) if feed.divided else (),
    )
    del held
    clock.lap("compile")
    on_ready(dict(clock.seconds))

    history: list[Record] = []
    logged = len(left_out(skipped))

    def here() -> Progress:
        return with_skipped(control.progress(ts), skipped)

    def emit(record: Record) -> None:
        history.append(record)
        on_record(record)

    def fault() -> Fault:
        """Repeats the step that was not finite, which changed nothing, to say where."""
        batch = feed.batch(feed.held(int(ts.step)), ts.step, key, (0, 1))
        place = find_fault(model, loss, ts, batch, key, precision.preparing(prepare), optimizer)
        return Fault(int(ts.step), place, ts, batch, key)

    def report(interval: _Interval) -> Record | None:
        """Fetches the counts of an interval and logs them. Raises where they are not finite.

        Returns None if every batch of the interval was left out.
        """
        nonlocal logged
        counts = dict(interval.counts)
        nonfinite = np.asarray(counts.pop("nonfinite")).item()  # host sync here
        out = left_out(interval.skipped)
        if out[logged:]:
            emit({"kind": "skipped", "step": interval.step, "steps": out[logged:], "all": len(out)})
            logged = len(out)
        if nonfinite and not control.watches_training:
            raise stopped(fault(), here(), per_epoch)
        means = metrics.summarize(counts)
        if not nonfinite and not means["count"]:
            return None
        if nonfinite:  # a policy decides; the good steps of the interval do not hide it
            means["loss"] = float("nan")
        now = interval.done or clock.now()
        record = {
            "kind": "train",
            "step": interval.step,
            "epoch": round(interval.step / per_epoch, 4),
            **means,
            "learning_rate": np.asarray(interval.rate).item(),
            "images_per_second": round(means["count"] / max(now - clock.reported, 1e-9), 1),
        }
        if feed.throughput is not None:
            record["waiting_for_input"] = round(feed.throughput.share_waited, 3)
        clock.reported = now
        emit(record)
        return record

    def consult(split: str, values: Record) -> None:
        """Lets the policies of `split` change the rate or go back to an earlier state."""
        nonlocal ts, step
        try:
            ts, lines = control.see(split, values, ts)
        except NumericalError as error:  # a policy gives up
            nan = split == "train" and math.isnan(values["loss"])
            found = fault() if nan else None
            raise with_context(error, here(), found) from None
        for line in lines:
            emit(line)
            if line["went_back"]:
                step = int(ts.step)

    pending: _Interval | None = None
    counts = zero()
    vote = Vote(layout)
    clock.reported = clock.now()
    before: Any = ()
    while step < epochs * per_epoch:
        place = step % per_epoch
        most = min(log_every - place % log_every, per_epoch - place)
        steps = pace.steps(min(most, feed.most or most))
        long = pace.long(steps)
        span, held = np.asarray((step, steps), np.int32), feed.held(step)
        with pace.watch() as awaited:
            ts, counts, skipped, rate = run(ts, counts, skipped, held, key, span)
            awaited.append(rate)
        if layout.one_at_a_time:
            jax.block_until_ready(ts)
        # One call under way, or two short ones: a request to stop waits for no more, and a stream
        # holds no more in memory.
        jax.block_until_ready(before)
        if pending is not None and pending.done is None:
            pending = pending._replace(done=clock.now())
        if long:
            jax.block_until_ready(rate)
        before = rate
        step += steps
        stop, wanted = vote(should_stop(), should_save())
        epoch_over = step % per_epoch == 0
        interval_over = epoch_over or (step % per_epoch) % log_every == 0
        save = interval_over and not epoch_over and not stop and wanted
        # A policy must see whole intervals, or a resumed training would decide otherwise.
        if not interval_over and (control.watches_training or not stop):
            continue
        if pending is not None:
            report(pending)
        pending = _Interval(step, counts, rate, skipped, clock.now() if long else None)
        counts = zero()
        if epoch_over or stop or save or control.watches_training:
            made, record = step, report(pending)
            pending = None
            if record is None:
                control.pass_over(ts)
            else:
                consult("train", record)
                if step == made and math.isnan(record["loss"]):
                    raise stopped(fault(), here(), per_epoch)  # no policy took care of it
            save = save and step == made  # not if a policy went back
            epoch_over = epoch_over and step == made
        if save:
            clock.lap("train")
            on_save(here())
            clock.lap("checkpoints")
            clock.reported = clock.now()
        if epoch_over:
            epoch = step // per_epoch
            clock.lap("train")
            results = {
                name: metrics.summarize(evaluator(ts.params, ts.state))  # host sync here
                for name, evaluator in evaluators.items()
            }
            for name, result in results.items():
                emit({"kind": "eval", "split": name, "step": step, "epoch": epoch, **result})
            for name, result in results.items():
                consult(name, result)
            clock.lap("eval")
            on_epoch(epoch, here())
            clock.lap("checkpoints")
            clock.reported = clock.now()
        if stop:
            break
    jax.block_until_ready(ts)
    feed.close()
    clock.lap("train")
    finished = step >= epochs * per_epoch
    return Fit(ts, here(), finished, history, clock.seconds, feed.throughput)


def network_input(
    dataset: Dataset | Stream, prepare: Prepare, augment: Augment | None = None
) -> Spec:
    """Shape and dtype of what the network sees, [1, H, W, C]: a crop or padding may change it."""

    def first() -> Array:
        images = jnp.zeros((1, *dataset.image_shape), jnp.uint8)
        place = jnp.zeros(1, jnp.int32)
        key, start = jax.random.key(0), jnp.int32(0)
        batch = train_batch(
            images, place, place, key, epoch=start, position=start, batch_size=1, augment=augment
        )
        return prepare(batch.images)

    spec: Spec = jax.eval_shape(first)
    return spec


class _Interval(NamedTuple):
    """Counts of a stretch of steps, still on the device."""

    step: int
    counts: Any
    rate: Array
    skipped: Array
    done: float | None  # by the clock, when the device was seen to have finished it
