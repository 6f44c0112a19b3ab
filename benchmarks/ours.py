"""jaxcnn's own rows: the step of `train.make_train_step`, as `fit` runs it and one at a time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from benchmarks import networks
from benchmarks.networks import Network
from benchmarks.peers import Trainer
from jaxcnn import losses, metrics, models, nn, optim, train
from jaxcnn.layer import Layer
from jaxcnn.ledger import Ledger
from jaxcnn.train.pace import fitting
from jaxcnn.train.step import TrainStep
from jaxcnn.typing import Batch, Params

VERSION = jaxcnn.__version__


def model_of(network: Network) -> Layer:
    """jaxcnn's own model of a network."""
    own: dict[str, Callable[[], Layer]] = {
        "lenet": models.lenet5,
        "cifar": models.deck_d_net,
        "resnet20": models.resnet20,
        "alexnet": models.alexnet,
    }
    for name, known in networks.NETWORKS.items():
        if known.layers == network.layers:
            return own[name]()
    assert network == networks.TINY  # noqa: S101  (there is no other)
    return nn.chain(logits=nn.Dense(10))


@functools.cache
def table_of(network: Network) -> Ledger:
    """The ledger of jaxcnn's model, which takes a moment for a deep one."""
    return jaxcnn.ledger(model_of(network), network.input)


def optimizer() -> Any:
    """SGD with momentum, without weight decay."""
    return optim.optimizer("momentum", networks.RATE, momentum=networks.MOMENTUM)


def start_params(network: Network) -> Params:
    """`networks.start` as jaxcnn's tree: the ledger lists the layers in the same order."""
    rows = [row for row in table_of(network).rows if row.params]
    tree: Params = {}
    for row, arrays in zip(rows, networks.start(network), strict=True):
        place = tree
        for part in row.path.split("/"):
            place = place.setdefault(part, {})
        place.update(jax.device_put(arrays))
    return tree


def train_state(network: Network) -> train.TrainState:
    """The state before the first step, with the start that all libraries share."""
    key = jax.random.key(0)
    ts = train.init_train_state(model_of(network), optimizer(), key, network.input)
    params = start_params(network)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, ts.params)  # noqa: S101
    return ts._replace(params=params)


def one_step(network: Network, precision: train.Precision = train.FLOAT32) -> TrainStep:
    """The step of `train.make_train_step`."""
    return train.make_train_step(
        model_of(network), losses.softmax_cross_entropy, optimizer(), precision=precision
    )


def several_steps(network: Network, precision: train.Precision = train.FLOAT32) -> Any:
    """The function of (train state, batch, key, n) that makes n steps, to be jitted."""
    step = one_step(network, precision)

    def advance(ts: Any, batch: Batch, key: Any, n: Any) -> Any:
        def one(_: Any, carry: Any) -> Any:
            ts, counts = carry
            # The batch is tied to the step: the compiler must not move work on it out of the
            # loop, since in training every step sees another one.
            now, _ = jax.lax.optimization_barrier((batch, ts.step))
            ts, new = step(ts, now, key)
            return ts, metrics.add(counts, new)

        shapes = jax.eval_shape(step, ts, batch, key)[1]
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        return jax.lax.fori_loop(0, n, one, (ts, zero))

    return advance


def make(network: Network, several: bool = True, mixed: bool = False) -> Trainer:
    """Several steps a call, or one; with bfloat16 inside if `mixed`."""
    precision = train.MIXED if mixed else train.FLOAT32
    return _Several(network, precision) if several else _Single(network, precision)


class _Own:
    def __init__(self, network: Network) -> None:
        self._batch = Batch(*jax.device_put(networks.batch(network)))
        self._ts = train_state(network)
        self._key = jax.random.key(0)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self._ts.params))

    def _finish(self, counts: Any) -> float:
        jax.block_until_ready(self._ts)
        if int(counts["nonfinite"]):
            return float("nan")
        return float(counts["loss_sum"]) / float(counts["count"])


class _Single(_Own):
    def __init__(self, network: Network, precision: train.Precision) -> None:
        super().__init__(network)
        self._step = jax.jit(one_step(network, precision), donate_argnums=0)

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._ts, counts = self._step(self._ts, self._batch, self._key)
        return self._finish(counts)


class _Several(_Own):
    def __init__(self, network: Network, precision: train.Precision) -> None:
        super().__init__(network)
        self._advance = jax.jit(several_steps(network, precision), donate_argnums=0)
        self._most = 1

    def run(self, steps: int) -> float:
        while steps:
            n = min(steps, self._most)
            began = time.perf_counter()
            self._ts, counts = self._advance(self._ts, self._batch, self._key, np.int32(n))
            loss = self._finish(counts)
            self._most = fitting((time.perf_counter() - began) / n)
            steps -= n
        return loss
