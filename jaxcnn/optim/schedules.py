"""Learning-rate schedules by name, on optax: functions of the step that is about to run.

Lengths may be given in steps or in epochs. Every schedule may start with a linear warm-up
whose first step already moves: `rate (t + 1) / warmup`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import jax.numpy as jnp
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array

ScheduleName = Literal["constant", "step", "exponential", "annealing", "cosine", "one-cycle"]
"""Names that `schedule` knows."""
Unit = Literal["steps", "epochs"]
"""What lengths are counted in."""

_USES = {"step": ("every", "factor"), "exponential": ("every", "factor"), "annealing": ("every",)}
_FACTOR = 0.1  # the default


def schedule(
    name: ScheduleName,
    rate: float,
    *,
    total: float,
    warmup: float = 0.0,
    every: float | None = None,
    factor: float = _FACTOR,
    unit: Unit = "steps",
    steps_per_epoch: int | None = None,
) -> optax.Schedule:
    """Makes the function `step -> learning rate`.

    | name | after the warm-up, t steps from its end |
    | - | - |
    | constant | `rate` |
    | step | `rate factor^floor(t / every)` |
    | exponential | `rate factor^(t / every)` |
    | annealing | `rate every / (every + t)` |
    | cosine | `rate (1 + cos(pi t / T)) / 2`, T steps to the end |
    | one-cycle | see below |

    One-cycle rises from `rate / 25` to `rate` in `warmup` (0: 30 % of all) and falls to `rate /
    250,000` at `total`, both by half a cosine.

    Args:
      name: one of the table.
      rate: the largest learning rate, positive.
      total: length of the training.
      warmup: length of the warm-up, below `total`.
      every: length between decays, for "step" and "exponential"; length after which the rate
        has halved, for "annealing". None is a third of `total`.
      factor: factor of one decay, in (0, 1], for "step" and "exponential".
      unit: "steps" or "epochs", of `total`, `warmup` and `every` alike. Lengths are rounded to
        whole steps, at least 1.
      steps_per_epoch: needed with "epochs".

    Raises:
      ConfigError: an argument is unknown, out of range, or given to a schedule without it.

    >>> rate = schedule("cosine", 0.1, total=100, warmup=10)
    >>> [round(float(rate(t)), 4) for t in (0, 9, 10, 55, 99)]
    [0.01, 0.1, 0.1, 0.05, 0.0]

    Source: decks A to C; one-cycle: Smith and Topin 2018, with cosines and the divisors of
    PyTorch and optax. Deck C writes annealing as `a / (eps + t)`: that is `every=eps` and
    `rate=a / eps`, the rate at the start.
    """
    if name not in get_args(ScheduleName):
        raise ConfigError(
            f"schedule {name!r} is unknown: use one of {', '.join(get_args(ScheduleName))}."
        )
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate={rate!r} is not allowed: expected a positive, finite number.")
    if not 0 < factor <= 1:
        raise ConfigError(f"factor={factor!r} is not allowed: expected a number in (0, 1].")
    for setting, value, default in (("every", every, None), ("factor", factor, _FACTOR)):
        if value != default and setting not in _USES.get(name, ()):
            users = [other for other, uses in _USES.items() if setting in uses]
            raise ConfigError(
                f"schedule {name!r} has no {setting!r}, got {setting}={value!r}: leave it out, or "
                f"use one of {', '.join(users)}."
            )
    total_steps = to_steps("total", total, unit, steps_per_epoch)
    warmup_steps = to_steps("warmup", warmup, unit, steps_per_epoch) if warmup else 0
    every_steps = to_steps("every", total / 3 if every is None else every, unit, steps_per_epoch)
    if warmup_steps >= total_steps:
        raise ConfigError(
            f"warmup={warmup!r} is not allowed: it must be shorter than the training, "
            f"total={total!r} {unit}."
        )
    if name == "one-cycle":
        return _one_cycle(rate, warmup_steps or max(int(0.3 * total_steps), 1), total_steps)
    if name == "constant":
        main = optax.constant_schedule(rate)
    elif name == "cosine":
        main = _cosine(rate, total_steps - warmup_steps)
    elif name == "annealing":
        main = _annealing(rate, every_steps)
    else:
        main = optax.exponential_decay(rate, every_steps, factor, staircase=name == "step")
    if not warmup_steps:
        return main
    rise = optax.linear_schedule(rate / warmup_steps, rate, max(warmup_steps - 1, 1))
    return optax.join_schedules([rise, main], [warmup_steps])


def _cosine(rate: float, total: int) -> optax.Schedule:
    def at(step: Array) -> Array:
        done = jnp.minimum(jnp.asarray(step, jnp.float32) / total, 1.0)
        return rate * (1 + jnp.cos(jnp.pi * done)) / 2

    return at


def _annealing(rate: float, half: int) -> optax.Schedule:
    return lambda step: rate * half / (half + jnp.asarray(step, jnp.float32))


def _one_cycle(rate: float, peak: int, total: int) -> optax.Schedule:
    """optax's may lose a step of the rise: it takes the peak as a fraction and rounds it down."""
    start, end = rate / 25, rate / 250_000

    def at(step: Array) -> Array:
        t = jnp.minimum(jnp.asarray(step, jnp.float32), total)
        rise = start + (rate - start) * (1 - jnp.cos(jnp.pi * t / peak)) / 2
        done = jnp.pi * (t - peak) / max(total - peak, 1)
        fall = end + (rate - end) * (1 + jnp.cos(done)) / 2
        return jnp.where(t < peak, rise, fall)

    return at


def to_steps(name: str, length: float, unit: Unit, steps_per_epoch: int | None) -> int:
    """Turns a positive length in `unit` into steps, at least 1."""
    if unit not in get_args(Unit):
        raise ConfigError(f"unit={unit!r} is not allowed: use 'steps' or 'epochs'.")
    if not (math.isfinite(length) and length > 0):
        raise ConfigError(f"{name}={length!r} is not allowed: expected a positive number.")
    if unit == "steps":
        return max(round(length), 1)
    if steps_per_epoch is None or steps_per_epoch < 1:
        raise ConfigError(
            f"steps_per_epoch={steps_per_epoch!r} is not allowed: lengths in epochs need it."
        )
    return max(round(length * steps_per_epoch), 1)
