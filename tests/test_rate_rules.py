"""Rules that scale a learning rate with the batch: their formulas, and that nothing is silent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.harness.config import check
from experiments.harness.job import prepare
from experiments.harness.screen import Screen
from experiments.lenet import EXPERIMENT, LeNetConfig
from jaxcnn import optim
from jaxcnn.errors import ConfigError


@pytest.mark.parametrize(
    ("rule", "batch", "expected"),
    [
        ("none", 8192, 0.1),
        ("linear", 8192, 3.2),  # Goyal et al. 2017: 0.1 for 256 images
        ("linear", 64, 0.025),
        ("sqrt", 1024, 0.2),
        ("sqrt", 64, 0.05),
        ("linear", 256, 0.1),
        ("sqrt", 256, 0.1),
    ],
)
def test_rules(rule, batch, expected):
    assert optim.scale_rate(0.1, batch, 256, rule) == pytest.approx(expected, rel=1e-12)


def test_linear_is_k_small_steps_along_one_line():
    """Where the gradient does not change, k small steps end where the large one does."""
    x = np.random.default_rng(0).normal(size=(32, 5))
    gradients = x.reshape(4, 8, 5).mean(1)  # of loss mean(x w): the same for every w
    small = sum(0.1 * gradient for gradient in gradients)
    large = optim.scale_rate(0.1, 32, 8, "linear") * x.mean(0)
    np.testing.assert_allclose(large, small, rtol=1e-12)


def test_sqrt_keeps_the_variance_of_an_update():
    noise = np.random.default_rng(0).normal(size=(4000, 64))  # gradients of single rows
    small = (0.1 * noise[:, :4].mean(1)).var()
    large = (optim.scale_rate(0.1, 64, 4, "sqrt") * noise.mean(1)).var()
    assert large == pytest.approx(small, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 8, 4, "cubic"), "rule='cubic' is not allowed: use one of none, linear, sqrt"),
        ((0.0, 8, 4, "linear"), "rate=0.0 is not allowed: expected a positive, finite number"),
        ((0.1, 0, 4, "linear"), "batch_size=0 is not allowed: expected a positive int"),
        ((0.1, 8, 0, "none"), "reference_batch_size=0 is not allowed: expected a positive int"),
        ((0.1, 8, 2.5, "sqrt"), "reference_batch_size=2.5 is not allowed"),
    ],
)
def test_bad_rates(arguments, message):
    with pytest.raises(ConfigError, match=message):
        optim.scale_rate(*arguments)


def test_gradual_warmup_is_a_line_into_the_schedule():
    after = optim.schedule("step", 3.2, total=90, every=30, factor=0.1)
    rates = jax.vmap(optim.gradual_warmup(after, 0.1, 5))(jnp.arange(90))
    t = np.arange(90)
    expected = np.where(t < 5, 0.1 + 3.1 * t / 5, 3.2 * 0.1 ** (t // 30))
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "steps", "message"),
    [
        (-0.1, 5, "start=-0.1 is not allowed: expected 0 or more"),
        (0.1, 0, "steps=0 is not allowed: expected a positive int"),
        (0.1, 1.5, "steps=1.5 is not allowed"),
    ],
)
def test_bad_warmups(start, steps, message):
    with pytest.raises(ConfigError, match=message):
        optim.gradual_warmup(optax.constant_schedule(1.0), start, steps)


def trained_rate(**changes):
    """The rate of an experiment's first update, and what its screen says."""
    said: list[str] = []
    screen = Screen()
    screen.say = said.append
    config = LeNetConfig(
        data="digits", batch_size=128, rate=0.01, schedule="constant", warmup=0, **changes
    )
    check(config)
    _, _, job = prepare(EXPERIMENT, config, screen)
    params = {"kernel": jnp.ones(1)}
    _, opt_state = job.optimizer.update(params, job.optimizer.init(params), params)
    return float(optim.learning_rate(opt_state)), "\n".join(said)


def test_experiments_scale_only_when_asked_and_say_so():
    rate, said = trained_rate()
    assert rate == pytest.approx(0.01)
    assert "rule" not in said
    rate, said = trained_rate(rate_rule="linear", reference_batch=32)
    assert rate == pytest.approx(0.04)
    assert "learning rate 0.04: 0.01 for 32 images a step, scaled to 128 by the linear rule" in said
    rate, _ = trained_rate(rate_rule="sqrt", reference_batch=32)
    assert rate == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_rule": "linear"}, "--rate-rule linear with --reference-batch None: give both"),
        ({"reference_batch": 32}, "--rate-rule none with --reference-batch 32: give both"),
        ({"rate_rule": "sqrt", "reference_batch": 0}, "--reference-batch 0: expected 1 or more"),
    ],
)
def test_a_rule_needs_its_reference(changes, message):
    with pytest.raises(ConfigError, match=message):
        check(LeNetConfig(**changes))
