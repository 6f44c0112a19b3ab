"""Optimizers against the decks' own recursions, in NumPy float64."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn import optim
from jaxcnn.errors import ConfigError

STEPS = 50
RATE = 2.0**-5  # exact in float32, in which the rate is kept
START = np.array([1.5, -0.7, 0.4])


def value(w):
    """A small function that is not quadratic."""
    return jnp.sum(jnp.log(jnp.cosh(w * w - 1))) + jnp.sum(w[:-1] * w[1:] ** 2) / 4


def gradient(w):
    """Its gradient, by hand."""
    g = 2 * w * np.tanh(w * w - 1)
    g[:-1] += w[1:] ** 2 / 4
    g[1:] += w[:-1] * w[1:] / 2
    return g


def ours(name, rate=RATE, steps=STEPS, **settings):
    """Parameters after each update, and the optimizer's states, in float64."""
    with jax.enable_x64(True):
        chain = optim.optimizer(name, rate, **settings)
        params = {"kernel": jnp.asarray(START, jnp.float64)}
        opt_state = chain.init(params)
        grad = jax.grad(lambda params: value(params["kernel"]))

        @jax.jit
        def step(params, opt_state):
            updates, opt_state = chain.update(grad(params), opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        path, states = [], []
        for _ in range(steps):
            params, opt_state = step(params, opt_state)
            path.append(np.asarray(params["kernel"]))
            states.append(opt_state)
        return np.stack(path), states


def same(path, reference, rtol=1e-12):
    np.testing.assert_allclose(path, np.stack(reference), rtol=rtol, atol=1e-13)


def test_the_gradient_by_hand_is_that_of_jax():
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.grad(value)(jnp.asarray(START)), gradient(START), rtol=1e-13)


def test_sgd():
    w, reference = START.copy(), []
    for _ in range(STEPS):
        w = w - RATE * gradient(w)
        reference.append(w)
    same(ours("sgd")[0], reference)


def deck_momentum(rates, momentum=0.9):
    w, v, path = START.copy(), np.zeros(3), []
    for rate in rates:
        v = momentum * v - rate * gradient(w)
        w = w + v
        path.append(w)
    return path


def test_momentum_is_deck_c_at_a_constant_rate():
    same(ours("momentum")[0], deck_momentum([RATE] * STEPS))


def drop(step):
    return jnp.where(step < 20, RATE, RATE / 8)


RATES = [RATE] * 20 + [RATE / 8] * (STEPS - 20)


def test_momentum_takes_a_new_rate_at_once_unlike_deck_c():
    path = ours("momentum", drop)[0]
    w, v, reference = START.copy(), np.zeros(3), []
    for rate in RATES:
        v = 0.9 * v + gradient(w)
        w = w - rate * v
        reference.append(w)
    same(path, reference)
    deck = np.stack(deck_momentum(RATES))
    same(path[:20], deck[:20])
    assert np.abs(path[20] - deck[20]).max() > 1e-3


def test_momentum_of_a_ratio_of_rates_is_deck_c_when_the_rate_changes():
    # m a(t - 1) / a(t), exact in float32 but for 0.875, chosen to be exact
    momentum = 0.875
    path = ours("momentum", drop, momentum=lambda t: momentum * drop(t - 1) / drop(t))[0]
    same(path, deck_momentum(RATES, momentum))


@pytest.mark.parametrize("changing", [False, True])
def test_nesterov_is_deck_a_after_the_change_of_variables(changing):
    momenta = [0.125 if changing and t < 20 else 0.875 for t in range(STEPS + 1)]
    setting = optim.momentum_switch(0.125, 0.875, at=20) if changing else 0.875
    path, states = ours("nesterov", momentum=setting)

    before = now = START.copy()
    look_ahead, points = [], []
    for t in range(STEPS):
        ahead = now + momenta[t] * (now - before)
        look_ahead.append(ahead)
        before, now = now, ahead - RATE * gradient(ahead)
        points.append(now)
    look_ahead.append(now + momenta[STEPS] * (now - before))

    np.testing.assert_array_equal(look_ahead[0], START)
    same(path, look_ahead[1:])
    recovered = [
        w + RATE * momenta[t + 1] * np.asarray(state[0].trace["kernel"])
        for t, (w, state) in enumerate(zip(path, states, strict=True))
    ]
    same(recovered, points)


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_adagrad_is_deck_c(start):
    w, r, reference = START.copy(), np.full(3, start), []
    for _ in range(STEPS):
        g = gradient(w)
        r = r + g**2
        w = w - RATE / (1e-8 + np.sqrt(r)) * g
        reference.append(w)
    same(ours("adagrad", start=start)[0], reference)
    if not start:
        same(ours("adagrad")[0], reference)


def test_adagrad_differs_from_optax_by_start_and_the_place_of_epsilon():
    epsilon = 0.01  # large, to be seen
    g = gradient(START)
    with jax.enable_x64(True):
        theirs, _ = optax.scale_by_rss(0.1, epsilon).update(
            jnp.asarray(g), optax.scale_by_rss(0.1, epsilon).init(jnp.asarray(START))
        )
    np.testing.assert_allclose(theirs, g / np.sqrt(0.1 + g**2 + epsilon), rtol=1e-12)
    path, _ = ours("adagrad", steps=1, epsilon=epsilon)
    np.testing.assert_allclose(path[0], START - RATE * g / (epsilon + np.abs(g)), rtol=1e-12)


def test_adagrad_leaves_a_parameter_without_gradient_alone():
    chain = optim.optimizer("adagrad", 0.1)
    params = {"kernel": jnp.ones(2)}
    updates, _ = chain.update({"kernel": jnp.zeros(2)}, chain.init(params), params)
    np.testing.assert_array_equal(updates["kernel"], np.zeros(2))


def test_rmsprop_is_deck_c_with_epsilon_inside_the_root():
    epsilon = 0.01
    w, r, reference = START.copy(), np.zeros(3), []
    for _ in range(STEPS):
        g = gradient(w)
        r = 0.9 * r + 0.1 * g**2
        w = w - RATE / np.sqrt(epsilon + r) * g
        reference.append(w)
    same(ours("rmsprop", epsilon=epsilon)[0], reference)


def deck_adam(correct):
    """Deck C's recursion; `correct(decay, t)` divides the averages."""
    w, s, r, path = START.copy(), np.zeros(3), np.zeros(3), []
    for t in range(1, STEPS + 1):
        g = gradient(w)
        s = 0.9 * s + 0.1 * g
        r = 0.999 * r + 0.001 * g**2
        w = w - RATE / (1e-8 + np.sqrt(r / correct(0.999, t))) * (s / correct(0.9, t))
        path.append(w)
    return path


def test_adam_is_deck_c_with_the_powers_of_t():
    same(ours("adam")[0], deck_adam(lambda decay, t: 1 - decay**t), rtol=1e-10)


def test_adam_as_deck_c_prints_it_is_ours_with_another_rate():
    printed = deck_adam(lambda decay, t: 1 - decay)
    path = ours("adam")[0]
    np.testing.assert_allclose(path[0], printed[0], rtol=1e-12)
    assert np.abs(path[-1] - printed[-1]).max() > 0.01

    def rate(step):
        t = step.astype(jnp.float64) + 1
        return RATE * (1 - 0.9**t) / 0.1 * jnp.sqrt(0.001 / (1 - 0.999**t))

    # The rate is kept in float32.
    np.testing.assert_allclose(ours("adam", rate)[0], np.stack(printed), rtol=2e-6, atol=2e-7)
    assert np.sqrt(0.001) / 0.1 == pytest.approx(0.316, abs=1e-3)


def test_adam_as_deck_c_prints_it_taken_literally_lets_the_averages_grow():
    s = r = 0.0  # `s <- s / (1 - beta1)` overwrites what the next step starts from
    for _ in range(STEPS):
        s = (0.9 * s + 0.1) / 0.1
        r = (0.999 * r + 0.001) / 0.001
    assert s > 1e45
    assert r > 1e145


def test_lamb_scales_adamws_step_to_the_norm_of_each_array():
    params = {
        "a": {"kernel": jnp.asarray([[1.0, -2.0]]), "bias": jnp.asarray([0.5, 0.25])},
        "b": {"bias": jnp.zeros(2)},
    }
    grads = jax.tree.map(lambda p: jnp.cos(p) + 0.1, params)
    chain = optim.optimizer("lamb", RATE, weight_decay=0.1)
    updates, _ = chain.update(grads, chain.init(params), params)

    def expected(w, g, decay):
        w, g = np.asarray(w, np.float64), np.asarray(g, np.float64)
        u = g / (np.abs(g) + 1e-6) + decay * w  # after one step the averages are g and g^2
        norm = np.linalg.norm(w)
        return -RATE * u * (norm / np.linalg.norm(u) if norm else 1)

    for name, decay in (("kernel", 0.1), ("bias", 0.0)):
        reference = expected(params["a"][name], grads["a"][name], decay)
        np.testing.assert_allclose(updates["a"][name], reference, rtol=1e-5)
    np.testing.assert_allclose(
        updates["b"]["bias"], expected(params["b"]["bias"], grads["b"]["bias"], 0), rtol=1e-5
    )


TREE = {"conv": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 2.0)}, "scale": jnp.ones(2)}


def first_update(name, grads, **settings):
    chain = optim.optimizer(name, 0.5, **settings)
    return chain.update(grads, chain.init(TREE), TREE)[0]


def test_weight_decay_is_for_kernels_only():
    zero = jax.tree.map(jnp.zeros_like, TREE)
    updates = first_update("sgd", zero, weight_decay=0.1)
    np.testing.assert_allclose(updates["conv"]["kernel"], np.full((2, 2), -0.5 * 0.1 * 2))
    for untouched in (updates["conv"]["bias"], updates["scale"]):
        np.testing.assert_array_equal(untouched, np.zeros(2))
    assert optim.is_kernel(TREE) == {"conv": {"kernel": True, "bias": False}, "scale": False}


def test_weight_decay_is_decoupled_in_adamw_and_an_l2_penalty_in_adam():
    zero = jax.tree.map(jnp.zeros_like, TREE)
    adam = first_update("adam", zero, weight_decay=0.1)["conv"]["kernel"]
    adamw = first_update("adamw", zero, weight_decay=0.1)["conv"]["kernel"]
    np.testing.assert_allclose(adam, np.full((2, 2), -0.5), rtol=1e-5)  # normalised away
    np.testing.assert_allclose(adamw, np.full((2, 2), -0.5 * 0.1 * 2), rtol=1e-6)


def test_clipping_comes_before_weight_decay():
    grads = {"conv": {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.zeros(2)}, "scale": jnp.zeros(2)}
    updates = first_update("sgd", grads, clip_norm=3.0, weight_decay=0.1)
    np.testing.assert_allclose(updates["conv"]["kernel"], np.full((2, 2), -0.5 * (1.5 + 0.2)))
    updates = first_update("sgd", grads, clip_norm=100.0)
    np.testing.assert_allclose(updates["conv"]["kernel"], np.full((2, 2), -1.5))


@pytest.mark.parametrize("name", optim.OptimizerName.__args__)
def test_every_name_learns_and_keeps_its_rate(name):
    chain = optim.optimizer(name, lambda step: 0.01 / (1 + step))
    params = {"kernel": jnp.asarray(START, jnp.float32)}
    opt_state = chain.init(params)
    assert optim.learning_rate(opt_state) == 0
    before = value(params["kernel"])
    for step in range(3):
        grads = jax.grad(lambda params: value(params["kernel"]))(params)
        updates, opt_state = chain.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(optim.learning_rate(opt_state), 0.01 / (1 + step), rtol=1e-6)
    assert value(params["kernel"]) < before


def test_the_rate_factor_multiplies_the_rate_until_it_is_replaced():
    chain = optax.chain(optax.identity(), optax.chain(optim.scale_by_rate(lambda t: 0.5 / (t + 1))))
    params = {"kernel": jnp.ones(1)}
    opt_state = chain.init(params)
    assert optim.rate_factor(opt_state) == 1

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(opt_state):
        return chain.update(params, opt_state, params)

    moves = []
    for factor in (None, 0.5, None, 0.25):
        if factor is not None:
            before = opt_state
            opt_state = optim.with_rate_factor(opt_state, factor)
            assert optim.rate_factor(before) != factor
            chex.assert_trees_all_equal_shapes_and_dtypes(before, opt_state)
        updates, opt_state = step(opt_state)
        moves.append(updates["kernel"].item())
        assert optim.learning_rate(opt_state) == np.float32(-moves[-1])
    np.testing.assert_allclose(moves, [-0.5, -0.125, -0.5 / 6, -0.25 / 8], rtol=1e-6)
    assert optim.rate_factor(opt_state) == 0.25


def test_the_rate_factor_keeps_placement_and_batch_axes():
    chain = optim.optimizer("adam", 0.1)
    params = {"kernel": jnp.ones(2)}
    sharding = NamedSharding(Mesh(np.array(jax.devices()), "data"), PartitionSpec())
    opt_state = jax.device_put(chain.init(params), sharding)
    changed = optim.with_rate_factor(opt_state, 0.5)
    assert optim.rate_factor(changed).sharding == sharding
    many = jax.vmap(lambda _: chain.init(params))(jnp.arange(3))
    assert optim.rate_factor(optim.with_rate_factor(many, 0.5)).tolist() == [0.5] * 3
    in_jit = jax.jit(optim.with_rate_factor)(chain.init(params), jnp.float32(0.25))
    assert optim.rate_factor(in_jit) == 0.25


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_factor_must_be_positive(factor):
    opt_state = optim.optimizer("sgd", 0.1).init({})
    with pytest.raises(ConfigError, match=r"factor=.* is not allowed: expected a positive"):
        optim.with_rate_factor(opt_state, factor)


def test_a_foreign_optimizer_has_no_rate():
    opt_state = optax.adam(0.1).init({"kernel": jnp.ones(1)})
    for ask in (
        optim.learning_rate,
        optim.rate_factor,
        lambda state: optim.with_rate_factor(state, 0.5),
    ):
        with pytest.raises(ConfigError, match="does not keep its learning rate"):
            ask(opt_state)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("adamax", {}, "optimizer 'adamax' is unknown: use one of sgd, momentum"),
        ("sgd", {"rate": 0.0}, "rate=0.0 is not allowed"),
        ("sgd", {"rate": float("nan")}, "rate=nan is not allowed"),
        ("sgd", {"weight_decay": -1.0}, "weight_decay=-1.0 is not allowed: expected 0 or more"),
        ("sgd", {"clip_norm": 0.0}, "clip_norm=0.0 is not allowed"),
        ("sgd", {"momentum": 0.9}, "'sgd' has no 'momentum': it takes no settings"),
        ("lamb", {"decay": 0.9}, "'lamb' has no 'decay': it takes beta1, beta2, epsilon"),
        ("momentum", {"momentum": 1.0}, r"momentum=1.0 is not allowed: expected a number in \[0"),
        ("rmsprop", {"epsilon": 0.0}, "epsilon=0.0 is not allowed: expected a positive number"),
        ("adagrad", {"start": -0.1}, "start=-0.1 is not allowed: expected 0 or more"),
        ("adam", {"beta1": lambda step: 0.9}, "beta1=.* is not allowed: expected a number"),
    ],
)
def test_refused_settings(name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        optim.optimizer(name, **{"rate": 0.1, **arguments})


@pytest.mark.parametrize(
    ("low", "high", "at", "message"),
    [
        (-0.1, 0.9, 5, "low=-0.1 is not allowed"),
        (0.1, 1.0, 5, "high=1.0 is not allowed"),
        (0.1, 0.9, -1, "at=-1 is not allowed: expected a number of steps"),
    ],
)
def test_refused_momentum_switches(low, high, at, message):
    with pytest.raises(ConfigError, match=message):
        optim.momentum_switch(low, high, at=at)
