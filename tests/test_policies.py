"""Policies: decisions against plain restatements of their rules, and a training that uses them."""

from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import optim
from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.train import Decision, ReduceOnPlateau, RetryOnDivergence, StepBack

NAN, INF = float("nan"), float("inf")
POLICIES = [
    ReduceOnPlateau(factor=0.5, patience=3, min_delta=0.01, cooldown=2),
    ReduceOnPlateau(better="higher"),
    StepBack(patience=2),
    RetryOnDivergence(most=30, times=1.5),
]


def drive(policy, values):
    state, decisions = policy.start(), []
    for value in values:
        state, decision = policy.update(state, value)
        decisions.append(decision)
    return state, decisions


def factors(policy, values):
    return [decision.factor for decision in drive(policy, values)[1]]


def plateau_restated(values, *, factor, patience, min_delta, cooldown):
    """The rule of `ReduceOnPlateau` by looking back over the whole history at each value."""
    current, reduced_at, path = 1.0, -math.inf, []
    improved_at = [
        i for i, v in enumerate(values) if v < min(values[:i], default=INF) - min_delta
    ]  # right for values whose improvements are all larger than min_delta
    for i in range(len(values)):
        last = max([k for k in improved_at if k <= i], default=-1)
        counted_from = max(last, reduced_at + cooldown if reduced_at >= 0 else -1)
        if i - counted_from >= patience:
            current, reduced_at = current * factor, i
        path.append(current)
    return path


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("cooldown", [0, 1, 4])
def test_plateau_against_the_rule_restated(patience, cooldown):
    settings = {"factor": 0.5, "patience": patience, "min_delta": 0.5, "cooldown": cooldown}
    policy = ReduceOnPlateau(**settings, least=1e-30)
    for seed in range(20):
        values = np.random.default_rng(seed).integers(100, size=40).astype(float).tolist()
        assert factors(policy, values) == plateau_restated(values, **settings)


def test_plateau_by_hand():
    policy = ReduceOnPlateau(factor=0.1, patience=2, min_delta=0.1, cooldown=1)
    #       best  no    best  no    no: cut  cooling  no    no: cut
    values = [1.0, 0.95, 0.8, 0.75, 0.9, 0.9, 0.9, 0.9]
    expected = [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01]
    np.testing.assert_allclose(factors(policy, values), expected, rtol=1e-12)
    keeps = [decision.keep for decision in drive(policy, values)[1]]
    assert keeps == [True, False, True, False, False, False, False, False]
    assert not any(decision.go_back for decision in drive(policy, values)[1])


def test_plateau_of_an_accuracy_is_that_of_its_negative():
    values = np.random.default_rng(0).normal(size=30).tolist()
    lower = ReduceOnPlateau(patience=2, min_delta=0.2)
    higher = ReduceOnPlateau(patience=2, min_delta=0.2, better="higher")
    assert factors(lower, values) == factors(higher, [-value for value in values])


def test_nan_is_never_an_improvement_and_never_the_best():
    policy = ReduceOnPlateau(factor=0.5, patience=2)
    assert factors(policy, [NAN, NAN, 1.0, INF, NAN]) == [1, 0.5, 0.5, 0.5, 0.25]
    state, _ = drive(policy, [NAN, 3.0, -INF])
    assert state["best"] == 3.0


def test_the_factor_never_falls_below_the_least():
    assert factors(ReduceOnPlateau(factor=0.1, patience=1, least=0.05), [1.0] * 5) == [
        1.0, 0.1, 0.05, 0.05, 0.05,
    ]  # fmt: skip


def test_step_back_is_deck_e():
    values = [1.0, 0.9, 0.95, 0.85, 0.85]
    assert drive(StepBack(), values)[1] == [
        Decision(1.0, go_back=False, keep=True),
        Decision(1.0, go_back=False, keep=True),
        Decision(0.5, go_back=True, keep=False),
        Decision(0.5, go_back=False, keep=True),
        Decision(0.25, go_back=True, keep=False),
    ]


def test_step_back_ends():
    decisions = drive(StepBack(factor=0.5, least=0.2), [1.0] * 20)[1]
    assert [decision.factor for decision in decisions[:5]] == [1.0, 0.5, 0.25, 0.2, 0.2]
    assert sum(decision.go_back for decision in decisions) == 3


@pytest.mark.parametrize("bad", [NAN, INF, 24.0])
def test_retry_divides_by_ten_and_goes_back(bad):
    state, decisions = drive(RetryOnDivergence(), [2.3, 2.5, 2.1, bad, 2.2, 2.0])
    assert [decision.go_back for decision in decisions] == [0, 0, 0, 1, 0, 0]
    assert [decision.keep for decision in decisions] == [1, 1, 1, 0, 1, 1]
    assert [decision.factor for decision in decisions] == [1, 1, 1, 0.1, 0.1, 0.1]
    assert bad not in state["recent"]


def test_retry_compares_with_the_median_of_the_window():
    policy = RetryOnDivergence(times=3.0, window=3)
    falling = [100.0, 50.0, 10.0, 8.0, 6.0]
    assert not drive(policy, [*falling, 3.0 * 8 - 1e-9])[1][-1].go_back
    assert drive(policy, [*falling, 3.0 * 8 + 1e-9])[1][-1].go_back
    assert len(drive(policy, falling)[0]["recent"]) == 3
    assert not drive(RetryOnDivergence(times=None), [1.0, 1e30])[1][-1].go_back
    assert not drive(policy, [-1.0, -0.5, 2.0])[1][-1].go_back  # a loss that may be negative


def test_retry_gives_up():
    policy = RetryOnDivergence(most=2)
    state, decisions = drive(policy, [1.0, NAN, NAN])
    assert decisions[-1].factor == pytest.approx(0.01)
    with pytest.raises(NumericalError, match=r"diverged again \(loss nan\) after 2 retries"):
        policy.update(state, NAN)


def test_more_retries_than_allowed_are_not_followed_by_another():
    policy = RetryOnDivergence(most=2)
    with pytest.raises(NumericalError, match="after 5 retries"):
        policy.update({"retries": 5, "recent": [1.0]}, float("nan"))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_a_state_goes_through_json_and_is_not_modified(policy):
    values = [*np.random.default_rng(1).normal(1, 0.3, size=20).tolist(), NAN, INF, 0.1]
    straight, decisions = drive(policy, values)
    state, again = policy.start(), []
    for value in values:
        stored = json.dumps(state, allow_nan=False)
        new, decision = policy.update(json.loads(stored), value)
        assert policy.update(state, value) == (new, decision)
        assert json.dumps(state) == stored
        state = new
        again.append(decision)
    assert again == decisions
    assert state == straight


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_policies_are_frozen_settings(policy):
    assert hash(policy) == hash(type(policy)(**vars(policy)))
    with pytest.raises(AttributeError):
        policy.factor = 0.3


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (ReduceOnPlateau, {"factor": 1.0}, r"factor=1.0 is not allowed: expected a number in \(0"),
        (ReduceOnPlateau, {"patience": 0}, "patience=0 is not allowed: expected an int, 1 or more"),
        (ReduceOnPlateau, {"cooldown": -1}, "cooldown=-1 is not allowed: expected an int, 0"),
        (ReduceOnPlateau, {"min_delta": -0.1}, "min_delta=-0.1 is not allowed: expected 0 or more"),
        (ReduceOnPlateau, {"better": "up"}, "better='up' is not allowed: use 'lower' or 'higher'"),
        (ReduceOnPlateau, {"least": 0.0}, "least=0.0 is not allowed"),
        (StepBack, {"factor": 0.0}, "factor=0.0 is not allowed"),
        (RetryOnDivergence, {"factor": NAN}, "factor=nan is not allowed"),
        (RetryOnDivergence, {"most": 0}, "most=0 is not allowed"),
        (RetryOnDivergence, {"window": 1.5}, "window=1.5 is not allowed"),
        (RetryOnDivergence, {"times": 1.0}, "times=1.0 is not allowed: expected a number above 1"),
    ],
)
def test_refused_settings(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_a_training_that_diverges_is_rescued():
    """Gradient descent on x^2 / 2 diverges above a rate of 2 and converges below."""
    chain, policy = optim.optimizer("sgd", 30.0), RetryOnDivergence(times=1.5)
    params = {"kernel": jnp.ones(1)}
    start = (params, chain.init(params))

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = chain.update(params, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    now = kept = start
    state, losses = policy.start(), []
    for _ in range(40):
        now = step(*now)
        losses.append(float(jnp.sum(now[0]["kernel"] ** 2)))
        state, decision = policy.update(state, losses[-1])
        if decision.go_back:
            now = kept
        elif decision.keep:
            kept = now
        now = (now[0], optim.with_rate_factor(now[1], decision.factor))
    assert state["retries"] == 2
    assert losses[-1] < 1e-3
    np.testing.assert_allclose(optim.learning_rate(now[1]), 0.3, rtol=1e-6)
