"""Evaluation over a whole data set: every example counts once."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from jaxcnn import metrics
from jaxcnn.api import apply
from jaxcnn.data.ahead import prefetch
from jaxcnn.data.batches import eval_batch, steps_per_epoch
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.stream import Stream
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer
from jaxcnn.parallel.plan import Plan, plan
from jaxcnn.train.precision import Prepare, as_stored
from jaxcnn.train.step import EvalStep
from jaxcnn.typing import Array, Batch, Metrics, Params, State

Evaluator = Callable[[Params, State], Metrics]


def make_evaluator(
    eval_step: EvalStep, dataset: Dataset | Stream, batch_size: int, layout: Plan | None = None
) -> Evaluator:
    """Returns `(params, state) -> counts over all of dataset`, which it puts on the device.

    A stream is read anew each time.

    Args:
      eval_step: from `make_eval_step`.
      dataset: what to evaluate.
      batch_size: rows at a time; the result does not depend on it but for rounding. A stream has
        its own.
      layout: the devices that share the work, by `jit`; None means one device.

    Raises:
      ConfigError: a stream's rows do not divide over the devices.
    """
    layout = Plan("jit", (layout or plan("jit", 1, jax.local_devices()[:1])).mesh)
    if isinstance(dataset, Stream):
        return _over_stream(eval_step, dataset, layout)
    # Rounded up to rows that divide evenly; those beyond the set are masked like any others.
    batch_size = -(-batch_size // layout.devices) * layout.devices
    images, labels = layout.share((dataset.images, dataset.labels))
    steps = steps_per_epoch(len(dataset), batch_size)

    @jax.jit
    def count(params: Params, state: State, images: Array, labels: Array) -> Metrics:
        def one(position: Array) -> Metrics:
            batch = layout.divide(eval_batch(images, labels, position, batch_size))
            with layout.operations():
                return eval_step(params, state, batch)

        def more(position: Array, counts: Metrics) -> Metrics:
            return metrics.add(counts, one(position))

        zero = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(one, jnp.int32(0))
        )
        # One call for the whole set: memory is allocated once, and Python is out of the way.
        return jax.lax.fori_loop(0, steps, more, zero)

    def evaluate(params: Params, state: State) -> Metrics:
        return count(params, state, images, labels)

    return evaluate


def _over_stream(eval_step: EvalStep, stream: Stream, layout: Plan) -> Evaluator:
    if stream.batch_size % layout.devices:
        raise ConfigError(
            f"the stream to evaluate has batches of {stream.batch_size} rows, which do not divide "
            f"over {layout.devices} devices: use a multiple of {layout.devices}."
        )

    def more(counts: Metrics, params: Params, state: State, batch: Batch) -> Metrics:
        return metrics.add(counts, eval_step(params, state, batch))

    count = jax.jit(more, out_shardings=NamedSharding(layout.mesh, P()), donate_argnums=0)

    def evaluate(params: Params, state: State) -> Metrics:
        counts: Metrics | None = None
        for batch in prefetch(stream.batches(0), layout.place):
            if counts is None:
                shapes = jax.eval_shape(eval_step, params, state, batch)
                zero = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
                counts = layout.replicate(zero)
            counts = count(counts, params, state, batch)
            if layout.one_at_a_time:
                jax.block_until_ready(counts)
        assert counts is not None  # noqa: S101  (an image folder is never empty)
        return counts

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
        return apply(model, params, state, prepare(images))[0].astype(jnp.float32)

    outputs = []
    for start in range(0, len(dataset), batch_size):
        images = dataset.images[start : start + batch_size]
        rows = len(images)
        padded = np.resize(images, (batch_size, *images.shape[1:]))  # one compiled shape
        outputs.append(np.asarray(run(params, state, padded))[:rows])
    return np.concatenate(outputs)
