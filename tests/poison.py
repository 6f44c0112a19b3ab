"""A small network in which a number stops being finite at a chosen step and place.

Step and place are arrays in the network's state and the optimizer's, so that one compiled program
serves all cases.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import data, losses, nn, optim, train
from jaxcnn.data.batches import epoch_order
from tests.conftest import blobs

BATCH = 16
PLACES = ("input", "loss", "gradient", "parameter")
NEVER = -1
BAD_PIXEL = 255  # `blobs` has none


@jax.custom_vjp
def nan_backwards(x, bad):
    """The identity, whose gradient is multiplied by `bad`."""
    return x


nan_backwards.defvjp(lambda x, bad: (x, bad), lambda bad, g: (g * bad, None))


@dataclasses.dataclass(frozen=True)
class Poison:
    """The identity but for one step: then a huge output, or a gradient that is not finite.

    It also holds a parameter that nothing depends on.
    """

    def init(self, key, x):
        state = {name: jnp.full((), NEVER, jnp.int32) for name in ("step", "place")}
        state["now"] = jnp.zeros((), jnp.int32)
        return {"idle": jnp.ones(2)}, state

    def apply(self, params, state, x, ctx):
        if not ctx.train:
            return x, state
        bad = state["now"] == state["step"]
        huge = bad & (state["place"] == PLACES.index("loss"))
        # Finite, but their cross entropy is not where the likeliest class was the right one.
        likeliest = x == jnp.max(x, axis=-1, keepdims=True)
        x = jnp.where(huge, jnp.where(likeliest, -3e38, 3e38), x)
        backwards = bad & (state["place"] == PLACES.index("gradient"))
        x = nan_backwards(x, jnp.where(backwards, jnp.inf, 1.0))
        return x, {**state, "now": state["now"] + 1}


class Bad(NamedTuple):
    step: jax.Array
    now: jax.Array


def bad_update(value: float) -> optax.GradientTransformation:
    """Makes the update of the idle parameter `value` at a step: of no influence on the loss."""

    def init(params):
        return Bad(jnp.full((), NEVER, jnp.int32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        bad = jnp.where(state.now == state.step, value, 0.0)
        idle = updates["poison"]["idle"] + bad
        updates = {**updates, "poison": {"idle": idle}}
        return updates, state._replace(now=state.now + 1)

    return optax.GradientTransformation(init, update)


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Pixels / 255, but `BAD_PIXEL` becomes `value`."""

    value: float

    def __call__(self, images):
        return jnp.where(images == BAD_PIXEL, self.value, data.Scale()(images))


NET = nn.chain(flat=nn.Flatten(), fc=nn.Dense(3), poison=Poison())

NAMED = {
    "input": "the prepared images",
    "loss": "the loss (every layer's output is finite)",
    "gradient": "the gradient of parameter 'fc/bias'",
    "parameter": "parameter 'poison/idle' after the update",
}


def dataset(bad_steps=(), seed=0):
    """80 examples; in the first epoch the batches of `bad_steps` hold a bad pixel each."""
    made = blobs(80, seed=1)
    order = np.asarray(epoch_order(jax.random.key(seed), 0, len(made), BATCH))
    images = made.images.copy()
    for step in bad_steps:
        images[order[step * BATCH], 0, 0, 0] = BAD_PIXEL
    return dataclasses.replace(made, images=images)


def poisoned_fit(place=None, step=NEVER, value=np.nan, bad_inputs=(), **changes):
    """`fit` with a fault at `step` in `place`, and bad inputs at steps of the first epoch."""
    optimizer = optax.chain(optim.optimizer("momentum", 0.05), bad_update(value))
    start = changes.pop("start", None)
    if start is None:
        start = train.init_train_state(NET, optimizer, jax.random.key(0), (12, 12, 1))
        state = start.state["poison"]
        number = np.int32(PLACES.index(place) if place in PLACES else NEVER)
        state = {**state, "step": np.int32(step), "place": number}
        start = start._replace(state={"poison": state})
        if place == "parameter":
            chained = (*start.opt_state[:-1], start.opt_state[-1]._replace(step=np.int32(step)))
            start = start._replace(opt_state=chained)
    settings = {
        "loss": losses.softmax_cross_entropy,
        "optimizer": optimizer,
        "epochs": 4,
        "batch_size": BATCH,
        "seed": 0,
        "prepare": Prepare(value),
        "log_every": 2,
        "steps_per_call": 1,
        "start": start,
    }
    inputs = (step,) if place == "input" else bad_inputs
    return train.fit(NET, dataset(inputs), **{**settings, **changes})
