"""Learning rates for larger batches: rules that are asked for, never applied silently.

On n devices a step usually has n times the rows. Its gradient is less noisy and an epoch has
fewer steps, so the rate that was good for the small batch is too low. No rule follows from
theory alone: these two are known to work in places, up to a batch size that has to be tried.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import jax.numpy as jnp
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Array

RateRule = Literal["none", "linear", "sqrt"]
"""Names of the rules of `scale_rate`."""


def scale_rate(rate: float, batch_size: int, reference_batch_size: int, rule: RateRule) -> float:
    """The learning rate for `batch_size` rows, given one that is good for another number.

    | rule | k the ratio of the batch sizes | because |
    | - | - | - |
    | none | `rate` | |
    | linear | `k rate` | k small steps go about as far as one large one |
    | sqrt | `sqrt(k) rate` | the noise of an update keeps its variance |

    Args:
      rate: good for `reference_batch_size`, positive.
      batch_size: rows of a step, all devices together.
      reference_batch_size: the rows of a step for which `rate` was found.
      rule: one of the table.

    Raises:
      ConfigError: the rule is unknown or a number is not positive.

    >>> scale_rate(0.1, 8192, 256, "linear")
    3.2
    >>> scale_rate(0.1, 1024, 256, "sqrt")
    0.2

    Source: linear: Goyal et al. 2017, who train ResNet-50 with up to 8192 images a step, and
    only with a warm-up (`gradual_warmup`), since early in training the parameters change too
    fast for the argument above. sqrt: Krizhevsky 2014, who derives it and then finds that the
    linear rule did better for AlexNet with up to 1024.
    """
    if rule not in get_args(RateRule):
        raise ConfigError(
            f"rule={rule!r} is not allowed: use one of {', '.join(get_args(RateRule))}."
        )
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate={rate!r} is not allowed: expected a positive, finite number.")
    for name, number in (
        ("batch_size", batch_size),
        ("reference_batch_size", reference_batch_size),
    ):
        if not isinstance(number, int) or number < 1:
            raise ConfigError(f"{name}={number!r} is not allowed: expected a positive int.")
    if rule == "none":
        return rate
    ratio = batch_size / reference_batch_size
    return rate * (ratio if rule == "linear" else math.sqrt(ratio))


def gradual_warmup(after: optax.Schedule, start: float, steps: int) -> optax.Schedule:
    """A schedule that begins at `start` and rises in a straight line to `after` at `steps`.

    `start + (after(steps) - start) t / steps` for t below `steps`, then `after(t)`: the steps of
    the warm-up count as steps of `after`. It goes with the linear rule, `start` being the rate of
    the reference batch, which is known to be safe. The warm-up of `schedule` starts near 0.

    Args:
      after: the schedule whose beginning is replaced, usually made with a scaled rate.
      start: the rate of the first step, 0 or more.
      steps: length of the rise; Goyal et al. take five epochs.

    Raises:
      ConfigError: a number is out of range.

    >>> rate = gradual_warmup(optax.constant_schedule(3.2), start=0.1, steps=4)
    >>> [round(float(rate(t)), 3) for t in (0, 2, 4, 99)]
    [0.1, 1.65, 3.2, 3.2]

    Source: Goyal et al. 2017, section 2.2.
    """
    if not (math.isfinite(start) and start >= 0):
        raise ConfigError(f"start={start!r} is not allowed: expected 0 or more.")
    if not isinstance(steps, int) or steps < 1:
        raise ConfigError(f"steps={steps!r} is not allowed: expected a positive int.")

    def at(step: Array) -> Array:
        done = jnp.asarray(step, jnp.float32) / steps
        end = jnp.asarray(after(steps), jnp.float32)
        rising = start + (end - start) * done
        return jnp.where(done < 1, rising, jnp.asarray(after(step), jnp.float32))

    return at
