"""Optimizers by name, on optax.

Every one is `optax.chain(clip, L2, direction, decoupled decay, rate)` with what was asked
for. The last link keeps the current learning rate in the optimizer's state, so that it can
be read, logged and stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.parameters import is_kernel
from jaxcnn.typing import Array, Params

OptimizerName = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]

_DIRECTIONS: dict[str, tuple[Callable[..., optax.GradientTransformation], dict[str, float]]] = {
    "sgd": (optax.identity, {}),
    "momentum": (lambda momentum: optax.trace(momentum), {"momentum": 0.9}),
    "nesterov": (lambda momentum: optax.trace(momentum, nesterov=True), {"momentum": 0.9}),
    "rmsprop": (
        lambda decay, epsilon: optax.scale_by_rms(decay, epsilon, eps_in_sqrt=True),
        {"decay": 0.9, "epsilon": 1e-8},
    ),
    "adam": (
        lambda beta1, beta2, epsilon: optax.scale_by_adam(beta1, beta2, epsilon),
        {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    ),
}
_DIRECTIONS["adamw"] = _DIRECTIONS["adam"]


class RateState(NamedTuple):
    """State of the last link: updates made, and the rate of the last one (0 before it)."""

    updates: Array  # int32, how many were made
    rate: Array  # float32


def optimizer(
    name: OptimizerName,
    rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    **settings: float,
) -> optax.GradientTransformation:
    """Makes an optimizer.

    | name | update, g the gradient, a the rate | settings (default) |
    | - | - | - |
    | sgd | `-a g` | |
    | momentum | `v <- m v + g; -a v` | momentum (0.9) |
    | nesterov | `v <- m v + g; -a (m v + g)` | momentum (0.9) |
    | rmsprop | `r <- d r + (1-d) g^2; -a g / sqrt(r + e)` | decay (0.9), epsilon (1e-8) |
    | adam | Kingma and Ba 2015 | beta1 (0.9), beta2 (0.999), epsilon (1e-8) |
    | adamw | adam with decoupled weight decay | as adam |

    Args:
      name: one of the table.
      rate: learning rate, a number or a function of the step.
      weight_decay: added to the gradient as `weight_decay * w` (an L2 penalty of
        `weight_decay / 2 |w|^2`); with "adamw" decoupled, `-a * weight_decay * w`. Applies to
        kernels, never to biases, scales or other parameters.
      clip_norm: the gradient is scaled down to this global norm, before weight decay.
      **settings: those of the table; others are refused.

    Raises:
      ConfigError: a name is unknown or a number out of range.
    """
    if name not in _DIRECTIONS:
        raise ConfigError(
            f"optimizer {name!r} is unknown: use one of {', '.join(get_args(OptimizerName))}."
        )
    if not callable(rate) and not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"rate={rate!r} is not allowed: expected a positive, finite number.")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ConfigError(f"weight_decay={weight_decay!r} is not allowed: expected 0 or more.")
    if clip_norm is not None and not clip_norm > 0:
        raise ConfigError(f"clip_norm={clip_norm!r} is not allowed: expected a positive number.")
    make, defaults = _DIRECTIONS[name]
    _check_settings(name, settings, defaults)
    links = []
    if clip_norm is not None:
        links.append(optax.clip_by_global_norm(clip_norm))
    decay = optax.add_decayed_weights(weight_decay, mask=is_kernel)
    if weight_decay and name != "adamw":
        links.append(decay)
    links.append(make(**{**defaults, **settings}))
    if weight_decay and name == "adamw":
        links.append(decay)
    links.append(scale_by_rate(rate))
    return optax.chain(*links)


def scale_by_rate(rate: float | optax.Schedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate and keeps the rate in the state."""

    def at(count: Array) -> Array:
        return jnp.asarray(rate(count) if callable(rate) else rate, jnp.float32)

    def init_fn(params: Params) -> RateState:
        del params  # the rate does not depend on them
        return RateState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))

    def update_fn(updates: Params, state: RateState, params: Params | None = None) -> Any:
        del params  # the rate does not depend on them
        now = at(state.updates)
        scaled = jax.tree.map(lambda u: -now.astype(u.dtype) * u, updates)
        return scaled, RateState(optax.safe_increment(state.updates), now)

    return optax.GradientTransformation(init_fn, update_fn)


def learning_rate(opt_state: Any) -> Array:
    """The rate of the last update (0 before the first), from any optimizer's state.

    Raises:
      ConfigError: the optimizer has no `scale_by_rate` link.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, RateState))
    for node in nodes:
        if isinstance(node, RateState):
            return node.rate
    raise ConfigError(
        "this optimizer does not keep its learning rate: build it with `optim.optimizer`, or end "
        "your optax chain with `optim.scale_by_rate(rate)` instead of `scale_by_learning_rate`."
    )


def _check_settings(name: str, given: dict[str, float], defaults: dict[str, float]) -> None:
    for setting, value in given.items():
        if setting not in defaults:
            takes = ", ".join(defaults) or "no settings"
            raise ConfigError(f"optimizer {name!r} has no {setting!r}: it takes {takes}.")
        positive = setting == "epsilon"
        if not (0 < value < math.inf if positive else 0 <= value < 1):
            allowed = "a positive number" if positive else "a number in [0, 1)"
            raise ConfigError(f"{setting}={value!r} is not allowed: expected {allowed}.")
