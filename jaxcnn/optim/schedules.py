"""Learning-rate schedules by name, on optax: functions of the step that is about to run.

Lengths may be given in steps or in epochs. Every schedule may start with a linear warm-up
whose first step already moves: `rate (t + 1) / warmup`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import optax

from jaxcnn.errors import ConfigError

ScheduleName = Literal["constant", "step", "exponential", "cosine", "one-cycle"]
Unit = Literal["steps", "epochs"]


def schedule(
    name: ScheduleName,
    rate: float,
    *,
    total: float,
    warmup: float = 0.0,
    every: float | None = None,
    factor: float = 0.1,
    unit: Unit = "steps",
    steps_per_epoch: int | None = None,
) -> optax.Schedule:
    """Makes the function `step -> learning rate`.

    | name | after the warm-up, t steps from its end |
    | - | - |
    | constant | `rate` |
    | step | `rate factor^floor(t / every)` |
    | exponential | `rate factor^(t / every)` |
    | cosine | `rate (1 + cos(pi t / T)) / 2`, T steps to the end |
    | one-cycle | up to `rate` in `warmup` (0: 30 % of all), down to `rate / 10^4`, by cosines |

    Args:
      name: one of the table.
      rate: the largest learning rate, positive.
      total: length of the training.
      warmup: length of the warm-up, below `total`.
      every: length between decays, for "step" and "exponential"; None is a third of `total`.
      factor: factor of one decay, in (0, 1].
      unit: "steps" or "epochs", of `total`, `warmup` and `every` alike.
      steps_per_epoch: needed with "epochs".

    Raises:
      ConfigError: an argument is unknown or out of range.

    >>> rate = schedule("cosine", 0.1, total=100, warmup=10)
    >>> [round(float(rate(t)), 4) for t in (0, 9, 10, 55, 99)]
    [0.01, 0.1, 0.1, 0.05, 0.0]
    """
    if name not in get_args(ScheduleName):
        raise ConfigError(
            f"schedule {name!r} is unknown: use one of {', '.join(get_args(ScheduleName))}."
        )
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate={rate!r} is not allowed: expected a positive, finite number.")
    if not 0 < factor <= 1:
        raise ConfigError(f"factor={factor!r} is not allowed: expected a number in (0, 1].")
    total_steps = to_steps("total", total, unit, steps_per_epoch)
    warmup_steps = to_steps("warmup", warmup, unit, steps_per_epoch) if warmup else 0
    every_steps = to_steps("every", total / 3 if every is None else every, unit, steps_per_epoch)
    if warmup_steps >= total_steps:
        raise ConfigError(
            f"warmup={warmup!r} is not allowed: it must be shorter than the training, "
            f"total={total!r} {unit}."
        )
    if name == "one-cycle":
        peak = warmup_steps / total_steps if warmup_steps else 0.3
        return optax.cosine_onecycle_schedule(total_steps, rate, pct_start=peak)
    if name == "constant":
        main = optax.constant_schedule(rate)
    elif name == "cosine":
        main = optax.cosine_decay_schedule(rate, total_steps - warmup_steps)
    else:
        main = optax.exponential_decay(rate, every_steps, factor, staircase=name == "step")
    if not warmup_steps:
        return main
    rise = optax.linear_schedule(rate / warmup_steps, rate, max(warmup_steps - 1, 1))
    return optax.join_schedules([rise, main], [warmup_steps])


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
