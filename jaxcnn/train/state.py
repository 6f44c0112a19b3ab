"""What training carries from step to step: arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.api import init, input_spec
from jaxcnn.layer import Layer, subkey
from jaxcnn.train.precision import FLOAT32, Precision
from jaxcnn.typing import Array, Key, Params, Spec, State


class TrainState(NamedTuple):
    """Everything that a step changes. No functions inside: it saves, shards and vmaps."""

    step: Array  # int32, how many steps were made
    params: Params
    state: State
    opt_state: Any


def init_train_state(
    model: Layer,
    optimizer: optax.GradientTransformation,
    key: Key,
    x: Array | Spec | Sequence[int],
    *,
    precision: Precision = FLOAT32,
) -> TrainState:
    """The state before the first step.

    Args:
      model: the network.
      optimizer: as for `make_train_step`.
      key: the run's key, `jax.random.key(seed)`.
      x: as for `jaxcnn.init`, typically the shape of one image.
      precision: its `param` is the dtype of the parameters.
    """
    spec = input_spec(x)

    @jax.jit  # one program, not one for each array
    def start(key: Key) -> TrainState:
        params, state = init(model, subkey(key, "init"), spec)
        params = precision.keep(params)
        return TrainState(jnp.zeros((), jnp.int32), params, state, optimizer.init(params))

    return start(key)
