"""Momentum, constant or changing with the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array, Params


class MomentumState(NamedTuple):
    """State of a momentum that depends on the step."""

    updates: Array  # int32, how many were made
    trace: Params


def scale_by_momentum(
    momentum: float | Callable[[Array], Array | float], *, nesterov: bool = False
) -> optax.GradientTransformation:
    """The direction of momentum: `v <- m v + g`, then v, or `m v + g` with `nesterov`.

    Args:
      momentum: m, a number or a function of the step, counted from 0. A function is asked for
        m(t) for the trace and, with `nesterov`, for m(t + 1) to look ahead: the next update
        multiplies the trace by just that.
      nesterov: whether to look ahead.
    """
    if not callable(momentum):
        return optax.trace(momentum, nesterov=nesterov)

    def at(step: Array, like: Array) -> Array:
        with jax.numpy_dtype_promotion("standard"):  # schedules mix floats and ints
            return jnp.asarray(momentum(step)).astype(like.dtype)

    def init_fn(params: Params) -> MomentumState:
        return MomentumState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update_fn(updates: Params, state: MomentumState, params: Params | None = None) -> Any:
        del params  # they do not enter
        now, after = state.updates, optax.safe_increment(state.updates)
        trace = jax.tree.map(lambda g, v: g + at(now, v) * v, updates, state.trace)
        if nesterov:
            updates = jax.tree.map(lambda g, v: g + at(after, v) * v, updates, trace)
        else:
            updates = trace
        return updates, MomentumState(after, trace)

    return optax.GradientTransformation(init_fn, update_fn)


def momentum_switch(low: float, high: float, *, at: int) -> Callable[[Array], Array]:
    """A momentum of `low` for the first `at` steps and of `high` thereafter.

    Args:
      low: momentum until the training is stable.
      high: momentum from step `at` on, counted from 0.
      at: a number of steps.

    Raises:
      ConfigError: a momentum is outside [0, 1), or `at` is negative.

    >>> momentum = momentum_switch(0.1, 0.9, at=500)
    >>> print(momentum(499), momentum(500))
    0.1 0.9

    Source: deck C, "often initially set to 0.1 until the learning stabilizes and increased to
    0.9 thereafter".
    """
    for name, value in (("low", low), ("high", high)):
        if not 0 <= value < 1:
            raise ConfigError(f"{name}={value!r} is not allowed: expected a number in [0, 1).")
    if not isinstance(at, int) or at < 0:
        raise ConfigError(f"at={at!r} is not allowed: expected a number of steps, 0 or more.")
    return lambda step: jnp.where(jnp.asarray(step) < at, jnp.float32(low), jnp.float32(high))
