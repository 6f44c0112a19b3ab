"""Fine-tuning: parameters that are kept stay as they are, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import losses, nn, optim, train
from jaxcnn.errors import ConfigError
from jaxcnn.typing import Batch

MODEL = nn.chain(
    body=nn.chain(conv=nn.Conv(3, 3), norm=nn.BatchNorm(), act=nn.relu),
    flatten=nn.Flatten(),
    logits=nn.Dense(2),
)


def trained(paths, name="momentum", steps=3, **settings):
    """The parameters before and after some steps."""
    optimizer = optim.train_only(optim.optimizer(name, 0.1, **settings), paths)
    key = jax.random.key(0)
    ts = train.init_train_state(MODEL, optimizer, key, (6, 6, 1))
    step = jax.jit(train.make_train_step(MODEL, losses.softmax_cross_entropy, optimizer))
    batch = Batch(jax.random.normal(key, (8, 6, 6, 1)), jnp.arange(8, dtype=jnp.int32) % 2)
    before = jax.tree.map(np.asarray, ts.params)
    for _ in range(steps):
        ts, _ = step(ts, batch, key)
    return before, jax.tree.map(np.asarray, ts.params), ts


@pytest.mark.parametrize("name", ["momentum", "adamw", "lamb"])
def test_only_what_is_named_moves(name):
    before, after, _ = trained(("logits", "body/norm"), name, weight_decay=0.1)
    for path, kept in (("conv", True), ("norm", False)):
        for leaf, value in before["body"][path].items():
            assert np.array_equal(value, after["body"][path][leaf]) == kept, (path, leaf)
    assert not np.array_equal(before["logits"]["kernel"], after["logits"]["kernel"])


def test_all_paths_are_the_optimizer_itself():
    _, some, _ = trained(("body", "logits"))
    optimizer = optim.optimizer("momentum", 0.1)
    ts = train.init_train_state(MODEL, optimizer, jax.random.key(0), (6, 6, 1))
    step = jax.jit(train.make_train_step(MODEL, losses.softmax_cross_entropy, optimizer))
    batch = Batch(
        jax.random.normal(jax.random.key(0), (8, 6, 6, 1)), jnp.arange(8, dtype=jnp.int32) % 2
    )
    for _ in range(3):
        ts, _ = step(ts, batch, jax.random.key(0))
    for one, other in zip(jax.tree.leaves(some), jax.tree.leaves(ts.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_the_rate_can_be_read_and_kept_parameters_have_no_moments():
    _, _, ts = trained(("logits/bias",))
    assert float(optim.learning_rate(ts.opt_state)) == pytest.approx(0.1)
    sizes = [leaf.size for leaf in jax.tree.leaves(ts.opt_state)]
    assert sum(sizes) < 10  # the bias's moment and the rate's three numbers


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), r"paths=\(\) is not allowed: expected one path or more"),
        ("logits", "paths='logits' is not allowed"),
    ],
)
def test_paths_that_are_none(paths, message):
    with pytest.raises(ConfigError, match=message):
        optim.train_only(optim.optimizer("sgd", 0.1), paths)


def test_a_path_without_parameters_is_named():
    optimizer = optim.train_only(optim.optimizer("sgd", 0.1), ("logits", "body/act"))
    params, _ = jaxcnn.init(MODEL, jax.random.key(0), (6, 6, 1))
    with pytest.raises(ConfigError, match="no parameters at 'body/act': the network has body, lo"):
        optimizer.init(params)
