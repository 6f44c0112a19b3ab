"""Schedules against their formulas in NumPy float64, at every step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import optim
from jaxcnn.errors import ConfigError

TOTAL, WARMUP, EVERY, RATE = 97, 11, 20, 0.1


def every_step(name, total=TOTAL, **settings):
    steps = jnp.arange(total + 5)  # a few beyond the end
    rate = jax.vmap(optim.schedule(name, RATE, total=total, **settings))(steps)
    assert rate.dtype == jnp.float32
    return np.asarray(rate, np.float64)


def with_warmup(after, warmup):
    rise = RATE * (np.arange(warmup) + 1) / warmup
    return np.concatenate([rise, after])


@pytest.mark.parametrize("warmup", [0, 1, WARMUP])
@pytest.mark.parametrize(
    ("name", "settings", "formula"),
    [
        ("constant", {}, lambda t, total: np.full(t.shape, RATE)),
        (
            "step",
            {"every": EVERY, "factor": 0.3},
            lambda t, total: RATE * 0.3 ** np.floor(t / EVERY),
        ),
        (
            "exponential",
            {"every": EVERY, "factor": 0.3},
            lambda t, total: RATE * 0.3 ** (t / EVERY),
        ),
        ("annealing", {"every": EVERY}, lambda t, total: RATE * EVERY / (EVERY + t)),
        (
            "cosine",
            {},
            lambda t, total: RATE * (1 + np.cos(np.pi * np.minimum(t / total, 1))) / 2,
        ),
    ],
)
def test_formula_at_every_step(name, settings, formula, warmup):
    after = formula(np.arange(TOTAL + 5 - warmup, dtype=np.float64), TOTAL - warmup)
    reference = with_warmup(after, warmup)
    np.testing.assert_allclose(
        every_step(name, warmup=warmup, **settings), reference, rtol=2e-5, atol=1e-8
    )


@pytest.mark.parametrize(
    ("total", "warmup"),
    [(1, 0), (2, 0), (2, 1), (3, 1), (50, 0), (50, 29), (97, 0), (97, 1), (97, 29)],
)
def test_one_cycle_at_every_step(total, warmup):
    peak = warmup or max(int(0.3 * total), 1)
    t = np.minimum(np.arange(total + 5, dtype=np.float64), total)
    rise = RATE / 25 + (RATE - RATE / 25) * (1 - np.cos(np.pi * t / peak)) / 2
    low = RATE / 250_000
    done = (t - peak) / max(total - peak, 1)
    fall = low + (RATE - low) * (1 + np.cos(np.pi * done)) / 2
    reference = np.where(t < peak, rise, fall)
    rates = every_step("one-cycle", total=total, warmup=warmup)
    np.testing.assert_allclose(rates, reference, rtol=2e-5, atol=1e-8)
    assert rates[0] == pytest.approx(RATE / 25)
    assert rates.max() == pytest.approx(RATE)
    assert rates.argmax() == peak


def test_annealing_is_deck_c():
    a, epsilon = 3.0, 20
    rate = optim.schedule("annealing", a / epsilon, total=100, every=epsilon)
    deck = a / (epsilon + np.arange(100))
    np.testing.assert_allclose([float(rate(t)) for t in range(100)], deck, rtol=1e-6)


def test_lengths_in_epochs_are_lengths_in_steps():
    settings = {"warmup": 1, "every": 1.5, "factor": 0.5}
    epochs = optim.schedule("step", 0.1, total=6, unit="epochs", steps_per_epoch=10, **settings)
    steps = optim.schedule("step", 0.1, total=60, warmup=10, every=15, factor=0.5)
    assert [float(epochs(t)) for t in range(60)] == [float(steps(t)) for t in range(60)]


def test_every_is_a_third_of_the_training_if_left_out():
    rate = optim.schedule("step", 0.1, total=90)
    np.testing.assert_allclose([rate(t) for t in (29, 30, 60)], [0.1, 0.01, 0.001], rtol=1e-5)


@pytest.mark.parametrize("name", optim.ScheduleName.__args__)
def test_a_schedule_runs_inside_an_optimizer_compiled(name):
    rate = optim.schedule(name, 0.1, total=20, warmup=2)
    chain = optim.optimizer("sgd", rate)
    params = {"kernel": jnp.ones(1)}
    step = jax.jit(lambda opt_state: chain.update(params, opt_state, params)[1])
    opt_state = step(step(step(chain.init(params))))
    np.testing.assert_allclose(optim.learning_rate(opt_state), rate(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("linear", {}, "schedule 'linear' is unknown: use one of constant, step"),
        ("cosine", {"rate": -1.0}, "rate=-1.0 is not allowed"),
        ("step", {"factor": 0.0}, r"factor=0.0 is not allowed: expected a number in \(0, 1\]"),
        ("cosine", {"total": 0}, "total=0 is not allowed: expected a positive number"),
        ("cosine", {"total": 10, "warmup": 10}, "warmup=10 is not allowed: it must be shorter"),
        ("cosine", {"unit": "days"}, "unit='days' is not allowed: use 'steps' or 'epochs'"),
        ("cosine", {"unit": "epochs"}, "steps_per_epoch=None is not allowed: lengths in epochs"),
        ("cosine", {"every": 5}, "'cosine' has no 'every', got every=5: leave it out, or use one"),
        ("one-cycle", {"factor": 0.5}, "'one-cycle' has no 'factor', got factor=0.5"),
        ("annealing", {"factor": 0.5}, "'annealing' has no 'factor'.*use one of step, exponential"),
        ("constant", {"every": 5}, "'constant' has no 'every'"),
    ],
)
def test_refused_settings(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        optim.schedule(name, **{"rate": 0.1, "total": 100, **arguments})
