"""Optimizers by name, on optax.

Every one is `optax.chain(clip, L2, direction, decoupled decay, trust ratio, rate)` with what
was asked for. The last link keeps the current learning rate in the optimizer's state, so that
it can be read, logged and stored, and a factor on it, so that it can be lowered while training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.optim.momentum import scale_by_momentum
from jaxcnn.parameters import is_kernel
from jaxcnn.typing import Array, Params

OptimizerName = Literal[
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "lamb"
]
"""Names that `optimizer` knows."""

Setting: TypeAlias = float | Callable[[Array], Array | float]
"""A number; for `momentum` also a function of the step."""


def _adam(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    inner = optax.scale_by_adam(beta1, beta2, epsilon)

    def update_fn(updates: Params, state: Any, params: Params | None = None) -> Any:
        # optax raises a float to the power of an int, which strict promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update_fn)


_DIRECTIONS: dict[str, tuple[Callable[..., optax.GradientTransformation], dict[str, float]]] = {
    "sgd": (optax.identity, {}),
    "momentum": (lambda momentum: scale_by_momentum(momentum), {"momentum": 0.9}),
    "nesterov": (lambda momentum: scale_by_momentum(momentum, nesterov=True), {"momentum": 0.9}),
    "adagrad": (
        lambda start, epsilon: scale_by_adagrad(start, epsilon),
        {"start": 0.0, "epsilon": 1e-8},
    ),
    "rmsprop": (
        lambda decay, epsilon: optax.scale_by_rms(decay, epsilon, eps_in_sqrt=True),
        {"decay": 0.9, "epsilon": 1e-8},
    ),
    "adam": (_adam, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    "adamw": (_adam, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}),
    "lamb": (_adam, {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6}),
}

_DECOUPLED = ("adamw", "lamb")  # weight decay is not part of the gradient


class RateState(NamedTuple):
    """State of the last link."""

    updates: Array  # int32, how many were made
    rate: Array  # float32, the rate of the last one, factor included; 0 before it
    factor: Array  # float32, multiplies what the schedule says; 1 at the start


def optimizer(
    name: OptimizerName,
    rate: float | optax.Schedule,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    **settings: Setting,
) -> optax.GradientTransformation:
    """Makes an optimizer.

    | name | update, g the gradient, a the rate | settings (default) |
    | - | - | - |
    | sgd | `-a g` | |
    | momentum | `v <- m v + g; -a v` | momentum (0.9) |
    | nesterov | `v <- m v + g; -a (m v + g)` | momentum (0.9) |
    | adagrad | `r <- r + g^2; -a g / (e + sqrt(r))` | start (0), epsilon (1e-8) |
    | rmsprop | `r <- d r + (1-d) g^2; -a g / sqrt(r + e)` | decay (0.9), epsilon (1e-8) |
    | adam | Kingma and Ba 2015 | beta1 (0.9), beta2 (0.999), epsilon (1e-8) |
    | adamw | adam with decoupled weight decay | as adam |
    | lamb | adamw's step u, each array's by its own rate `a norm(w) / norm(u)` | epsilon (1e-6) |

    Args:
      name: one of the table.
      rate: learning rate, a number or a function of the step.
      weight_decay: added to the gradient as `weight_decay * w` (an L2 penalty of
        `weight_decay / 2 |w|^2`); with "adamw" and "lamb" decoupled: added to adam's step
        instead, so that "adamw" moves by `-a * weight_decay * w`. Applies to kernels, never
        to biases, scales or other parameters.
      clip_norm: the gradient is scaled down to this global norm, before weight decay.
      **settings: those of the table; others are refused. `momentum` may be a function of the
        step, such as `momentum_switch(0.1, 0.9, at=500)`; `start` is AdaGrad's first r.

    Raises:
      ConfigError: a name is unknown or a number out of range.

    >>> nesterov = optimizer("nesterov", 0.1, momentum=0.9)
    >>> params = {"kernel": jnp.asarray([1.0])}
    >>> updates, opt_state = nesterov.update(params, nesterov.init(params), params)
    >>> print(updates["kernel"])
    [-0.19]

    Source: decks A to C; AdaGrad: Duchi et al. 2011; LAMB: You et al. 2020 (named by deck B).

    Where the decks' forms differ:
      - momentum: deck C has `V <- m V - a g; W <- W + V`. With a constant rate V is `-a v`: the
        same path. When the rate changes, V keeps the rates at which its gradients were taken,
        while here, in optax and in PyTorch all of v takes the new rate at once. The deck's
        path is had with `momentum=lambda t: m * a(t - 1) / a(t)`.
      - nesterov: deck A has two points, `v_t = th_{t-1} + m (th_{t-1} - th_{t-2}); th_t = v_t -
        a g(v_t)`. The parameters here are its look-ahead points: they start at `v_1 = th_0`
        and stand at v_{t+1} after t updates; `th_t = w_t + a m v`, v the trace. A momentum that
        depends on the step enters as `-a (m(t + 1) v + g)`, which keeps that equality.
      - adagrad: deck C has epsilon outside the root, and r from 0, as here. optax has epsilon
        (1e-7) inside and starts at 0.1, which makes the first steps shorter: `start=0.1`.
      - rmsprop: epsilon is inside the root in deck C, here and in optax; outside in PyTorch,
        which also keeps 0.99.
      - adam: deck C corrects the bias by `1 - beta`, without the power of t: right at the first
        step only. From then on its step is `(1-beta1^t)/(1-beta1) sqrt((1-beta2)/(1-beta2^t))`
        times this one, in the end 0.316 times with the default betas.
      - lamb: every array has its own trust ratio, biases too, as in optax; 1 where a norm is 0.
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
    if weight_decay and name not in _DECOUPLED:
        links.append(decay)
    links.append(make(**{**defaults, **settings}))
    if weight_decay and name in _DECOUPLED:
        links.append(decay)
    if name == "lamb":
        links.append(optax.scale_by_trust_ratio())
    links.append(scale_by_rate(rate))
    return optax.chain(*links)


def scale_by_adagrad(start: float = 0.0, epsilon: float = 1e-8) -> optax.GradientTransformation:
    """AdaGrad's direction: `r <- r + g^2; g / (epsilon + sqrt(r))`, r from `start`."""

    def init_fn(params: Params) -> Any:
        return optax.ScaleByRssState(jax.tree.map(lambda p: jnp.full_like(p, start), params))

    def update_fn(updates: Params, state: Any, params: Params | None = None) -> Any:
        del params  # they do not enter
        squares = jax.tree.map(lambda g, r: r + g * g, updates, state.sum_of_squares)
        scaled = jax.tree.map(lambda g, r: g / (epsilon + jnp.sqrt(r)), updates, squares)
        return scaled, optax.ScaleByRssState(squares)

    return optax.GradientTransformation(init_fn, update_fn)


def scale_by_rate(rate: float | optax.Schedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate and keeps the rate in the state."""

    def at(count: Array) -> Array:
        with jax.numpy_dtype_promotion("standard"):  # schedules mix floats and ints
            return jnp.asarray(rate(count) if callable(rate) else rate, jnp.float32)

    def init_fn(params: Params) -> RateState:
        del params  # the rate does not depend on them
        return RateState(
            jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), jnp.ones((), jnp.float32)
        )

    def update_fn(updates: Params, state: RateState, params: Params | None = None) -> Any:
        del params  # the rate does not depend on them
        now = at(state.updates) * state.factor
        scaled = jax.tree.map(lambda u: -now.astype(u.dtype) * u, updates)
        return scaled, RateState(optax.safe_increment(state.updates), now, state.factor)

    return optax.GradientTransformation(init_fn, update_fn)


def learning_rate(opt_state: Any) -> Array:
    """The rate of the last update, factor included (0 before the first), of any optimizer's state.

    Raises:
      ConfigError: the optimizer has no `scale_by_rate` link.
    """
    return _rate_states(opt_state)[0].rate


def rate_factor(opt_state: Any) -> Array:
    """The factor by which the scheduled rate is multiplied, from any optimizer's state.

    Raises:
      ConfigError: the optimizer has no `scale_by_rate` link.
    """
    return _rate_states(opt_state)[0].factor


def with_rate_factor(opt_state: Any, factor: float | Array) -> Any:
    """A copy of the optimizer's state whose rate is `factor` times what the schedule says.

    It replaces the factor of before, and holds until it is replaced. Shape, dtype and
    placement stay as they were, so that compiled steps go on without tracing again.

    Args:
      opt_state: state of any optimizer that has a `scale_by_rate` link.
      factor: a positive number.

    Raises:
      ConfigError: the factor is not positive, or there is no such link.

    >>> sgd = optimizer("sgd", 0.5)
    >>> params = {"kernel": jnp.ones(1)}
    >>> opt_state = with_rate_factor(sgd.init(params), 0.5)
    >>> updates, opt_state = sgd.update(params, opt_state)
    >>> print(updates["kernel"], learning_rate(opt_state), rate_factor(opt_state))
    [-0.25] 0.25 0.5
    """
    if not isinstance(factor, jax.Array) and not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"factor={factor!r} is not allowed: expected a positive, finite number.")
    _rate_states(opt_state)  # raises if there are none

    def replace(node: Any) -> Any:
        if isinstance(node, RateState):
            return node._replace(factor=jnp.full_like(node.factor, factor))
        return node

    return jax.tree.map(replace, opt_state, is_leaf=_is_rate_state)


def _is_rate_state(node: Any) -> bool:
    return isinstance(node, RateState)


def _rate_states(opt_state: Any) -> list[RateState]:
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_rate_state)
    found = [node for node in nodes if isinstance(node, RateState)]
    if not found:
        raise ConfigError(
            "this optimizer does not keep its learning rate: build it with `optim.optimizer`, or "
            "end your optax chain with `optim.scale_by_rate(rate)` instead of "
            "`scale_by_learning_rate`."
        )
    return found


def _check_settings(name: str, given: dict[str, Setting], defaults: dict[str, float]) -> None:
    for setting, value in given.items():
        if setting not in defaults:
            takes = ", ".join(defaults) or "no settings"
            raise ConfigError(f"optimizer {name!r} has no {setting!r}: it takes {takes}.")
        if callable(value):
            if setting != "momentum":
                raise ConfigError(f"{setting}={value!r} is not allowed: expected a number.")
        elif setting == "epsilon":
            if not 0 < value < math.inf:
                raise ConfigError(
                    f"{setting}={value!r} is not allowed: expected a positive number."
                )
        elif setting == "start":
            if not 0 <= value < math.inf:
                raise ConfigError(f"{setting}={value!r} is not allowed: expected 0 or more.")
        elif not 0 <= value < 1:
            raise ConfigError(f"{setting}={value!r} is not allowed: expected a number in [0, 1).")
