"""What to do when training stalls or diverges: small state machines on the host.

A policy sees one number at a time and answers with a `Decision`: the factor of the learning
rate, and whether to go back to the state that was kept. It touches no arrays. Its state is a
dict of plain values that JSON can hold, so that a checkpoint can store it and a resumed run
decides as the uninterrupted one would have.

    policy_state = policy.start()
    kept = copy of the train state
    ...after each value:
    policy_state, decision = policy.update(policy_state, value)
    if decision.go_back:
        train_state = copy of kept
    elif decision.keep:
        kept = copy of the train state
    opt_state = optim.with_rate_factor(train_state.opt_state, decision.factor)

The policy's state never goes back: it knows how often that has been tried.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

from jaxcnn.errors import ConfigError, NumericalError

PolicyState: TypeAlias = dict[str, Any]
"""Plain values: numbers, None, lists of numbers. Finite, so that any JSON reader takes it."""

Better = Literal["lower", "higher"]


class Decision(NamedTuple):
    """What a policy wants.

    Attributes:
      factor: of the learning rate, counted from the schedule's own rate (not from the factor
        of before): for `optim.with_rate_factor`.
      go_back: whether to restore the state kept last, before setting the factor.
      keep: whether the state that led to this value is to be kept for going back.
    """

    factor: float
    go_back: bool
    keep: bool


class Policy(Protocol):
    """The contract of a policy: frozen settings and two pure methods."""

    def start(self) -> PolicyState:
        """The state before the first value."""
        ...

    def update(self, state: PolicyState, value: float) -> tuple[PolicyState, Decision]:
        """Takes the next value. Does not modify `state`."""
        ...


@dataclasses.dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiplies the rate by `factor` when a metric has stopped improving.

    A value improves if it beats the best so far by more than `min_delta`; NaN never does. After
    `patience` values in a row that do not improve, the rate is reduced, the count starts
    again, and the next `cooldown` values are not counted.

    Args:
      factor: of one reduction, in (0, 1).
      patience: values without improvement that lead to a reduction, 1 or more.
      min_delta: least improvement that counts, in units of the metric.
      cooldown: values after a reduction that are not counted.
      better: "lower" for a loss, "higher" for an accuracy.
      least: the factor never falls below this.

    Raises:
      ConfigError: a number is out of range.

    >>> policy = ReduceOnPlateau(factor=0.5, patience=2)
    >>> state = policy.start()
    >>> for loss in (1.0, 0.8, 0.9, 0.8):
    ...     state, decision = policy.update(state, loss)
    ...     print(decision.factor, end=" ")
    1.0 1.0 1.0 0.5

    Source: deck A, "divide by 2 or 10 when no progress". Patience as in Keras; in PyTorch it
    is one more, and `min_delta` is relative by default.
    """

    factor: float = 0.1
    patience: int = 5
    min_delta: float = 0.0
    cooldown: int = 0
    better: Better = "lower"
    least: float = 1e-6

    def __post_init__(self) -> None:
        _check(self)

    def start(self) -> PolicyState:
        """The state before the first value."""
        return {"factor": 1.0, "best": None, "bad": 0, "cooling": 0}

    def update(self, state: PolicyState, value: float) -> tuple[PolicyState, Decision]:
        """Takes the next value of the metric."""
        new, improved, _ = _watch(self, state, value)
        return new, Decision(new["factor"], go_back=False, keep=improved)


@dataclasses.dataclass(frozen=True)
class StepBack:
    """Multiplies the rate by `factor` and goes back when a validation metric stops improving.

    Like `ReduceOnPlateau`, and restores the state of the best value. When the factor has
    reached `least` it no longer goes back, so that training ends.

    Args:
      factor: of one reduction, in (0, 1).
      patience: values without improvement before going back, 1 or more.
      min_delta: least improvement that counts, in units of the metric.
      better: "lower" for a loss, "higher" for an accuracy.
      least: the factor never falls below this.

    Raises:
      ConfigError: a number is out of range.

    >>> policy = StepBack()
    >>> state, decision = policy.update(policy.start(), 1.0)
    >>> decision
    Decision(factor=1.0, go_back=False, keep=True)
    >>> state, decision = policy.update(state, 1.1)
    >>> decision
    Decision(factor=0.5, go_back=True, keep=False)

    Source: deck E, "start with large learning rate (e.g. 0.1), maintain until validation error
    stops improving, divide learning rate by 2 and go back to previous step".
    """

    factor: float = 0.5
    patience: int = 1
    min_delta: float = 0.0
    better: Better = "lower"
    least: float = 1e-4

    cooldown = 0  # after going back the next value is compared with the best at once

    def __post_init__(self) -> None:
        _check(self)

    def start(self) -> PolicyState:
        """The state before the first value."""
        return {"factor": 1.0, "best": None, "bad": 0, "cooling": 0}

    def update(self, state: PolicyState, value: float) -> tuple[PolicyState, Decision]:
        """Takes the next value of the metric."""
        new, improved, reduced = _watch(self, state, value)
        return new, Decision(new["factor"], go_back=reduced, keep=improved)


@dataclasses.dataclass(frozen=True)
class RetryOnDivergence:
    """Multiplies the rate by `factor` and goes back when the training loss diverges.

    A value has diverged if it is NaN or infinite, or larger than `times` the median of the
    last `window` values that had not. Every other value asks for its state to be kept.

    Args:
      factor: of one retry, in (0, 1).
      most: retries in all, 1 or more.
      times: how far above the median a loss may rise, more than 1. None: any finite loss is
        let pass. A loss near 0 may jump by such a factor in a healthy run: choose it large, or
        None, where the training loss goes to 0.
      window: values that the median is taken of, 1 or more.

    Raises:
      ConfigError: a number is out of range.
      NumericalError: by `update`, when training has diverged more than `most` times.

    >>> policy = RetryOnDivergence()
    >>> state, decision = policy.update(policy.start(), 2.3)
    >>> state, decision = policy.update(state, float("nan"))
    >>> decision
    Decision(factor=0.1, go_back=True, keep=False)

    Source: deck A, "start with a large value first: 0.1 or even 1; divide by 10 and retry in
    case of divergence".
    """

    factor: float = 0.1
    most: int = 3
    times: float | None = 10.0
    window: int = 20

    def __post_init__(self) -> None:
        _check_factor("factor", self.factor)
        _check_count("most", self.most, 1)
        _check_count("window", self.window, 1)
        if self.times is not None and not 1 < self.times < math.inf:
            raise ConfigError(
                f"times={self.times!r} is not allowed: expected a number above 1, or None."
            )

    def start(self) -> PolicyState:
        """The state before the first value."""
        return {"retries": 0, "recent": []}

    def update(self, state: PolicyState, value: float) -> tuple[PolicyState, Decision]:
        """Takes the next training loss."""
        retries, recent = state["retries"], state["recent"]
        wild = not math.isfinite(value)
        if not wild and self.times is not None and recent:
            median = statistics.median(recent)
            wild = value > self.times * median > 0  # says nothing about a loss below 0
        if not wild:
            recent = [*recent, float(value)][-self.window :]
            new = {"retries": retries, "recent": recent}
            return new, Decision(self.factor**retries, go_back=False, keep=True)
        if retries >= self.most:  # more: the limit was lowered for a training that goes on
            raise NumericalError(
                f"training diverged again (loss {value:.4g}) after {retries} retries, the last at "
                f"{self.factor**retries:.3g} times the rate.\n"
                "Try a lower learning rate, clip_norm, or another initialisation."
            )
        new = {"retries": retries + 1, "recent": recent}
        return new, Decision(self.factor ** (retries + 1), go_back=True, keep=False)


def _watch(
    policy: ReduceOnPlateau | StepBack, state: PolicyState, value: float
) -> tuple[PolicyState, bool, bool]:
    """The next state, whether the value improved, and whether the rate was reduced."""
    new = dict(state)
    sign = 1 if policy.better == "lower" else -1
    best = state["best"]
    improved = math.isfinite(value) and (
        best is None or sign * value < sign * best - policy.min_delta
    )
    reduced = False
    if improved:
        new["best"] = float(value)
    if improved or state["cooling"]:
        new["bad"] = 0
        new["cooling"] = max(state["cooling"] - 1, 0)
    else:
        new["bad"] += 1
        reduced = new["bad"] >= policy.patience and state["factor"] > policy.least
    if reduced:
        new["factor"] = max(state["factor"] * policy.factor, policy.least)
        new["bad"], new["cooling"] = 0, policy.cooldown
    return new, improved, reduced


def _check(policy: ReduceOnPlateau | StepBack) -> None:
    _check_factor("factor", policy.factor)
    _check_factor("least", policy.least)
    _check_count("patience", policy.patience, 1)
    _check_count("cooldown", policy.cooldown, 0)
    if not 0 <= policy.min_delta < math.inf:
        raise ConfigError(f"min_delta={policy.min_delta!r} is not allowed: expected 0 or more.")
    if policy.better not in get_args(Better):
        raise ConfigError(f"better={policy.better!r} is not allowed: use 'lower' or 'higher'.")


def _check_factor(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name}={value!r} is not allowed: expected a number in (0, 1).")


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ConfigError(f"{name}={value!r} is not allowed: expected an int, {least} or more.")
