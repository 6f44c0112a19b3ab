"""Which lowering is taken where, what the ledger says of it, and that steps compile to it."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import pytest

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import losses, models, nn, optim, train
from jaxcnn.errors import ConfigError
from jaxcnn.models.resnet import halve_and_pad
from jaxcnn.typing import Batch
from tests.test_lowerings import relative


def test_a_chain_fuses_unless_somebody_looks(rng):
    model = models.lenet5()
    params, state = jaxcnn.init(model, jax.random.key(0), (28, 28, 1))
    x = jnp.asarray(rng.normal(size=(3, 28, 28, 1)), jnp.float32)
    fused = jax.make_jaxpr(lambda x: jaxcnn.apply(model, params, state, x)[0])(x)
    assert "conv_general_dilated" not in str(fused)
    maps = jaxcnn.features(model, params, state, x)
    assert [n for n in maps if n[:4] in ("conv", "act1", "act2", "pool")] == [
        "conv1", "act1", "pool1", "conv2", "act2", "pool2",
    ]  # fmt: skip
    assert relative(jaxcnn.apply(model, params, state, x)[0], maps["logits"]) < 1e-5


@pytest.mark.parametrize("act", [nn.tanh, nn.relu, halve_and_pad], ids=repr)
@pytest.mark.parametrize("pool", [nn.AvgPool(2), nn.MaxPool(2), nn.AvgPool(2, stride=1)])
def test_fused_or_not_a_chain_is_its_layers(act, pool, rng):
    model = nn.chain(conv=nn.Conv(4, 3, padding=1), act=act, pool=pool)
    params, state = jaxcnn.init(model, jax.random.key(0), (8, 8, 2))
    x = jnp.asarray(rng.normal(size=(3, 8, 8, 2)), jnp.float32)
    maps = jaxcnn.features(model, params, state, x)
    assert relative(jaxcnn.apply(model, params, state, x)[0], maps["pool"]) < 1e-5
    rows = {row.path: row.lowering for row in jaxcnn.ledger(model, (8, 8, 2)).rows}
    fused = act != halve_and_pad and pool.stride is None
    assert (rows["pool"] == "with conv") == fused


def test_an_odd_map_is_not_fused_and_the_error_names_the_pool():
    model = nn.chain(conv=nn.Conv(4, 5), act=nn.relu, pool=nn.MaxPool(2))
    with pytest.raises(jaxcnn.errors.ShapeError, match="stride 2 does not fit") as caught:
        jaxcnn.init(model, jax.random.key(0), (9, 9, 1))
    assert "in layer pool" in caught.value.__notes__[0]


def test_the_ledger_shows_the_choice_and_counts_the_convolution():
    table = jaxcnn.ledger(models.lenet5(), (28, 28, 1))
    ways = {row.path: row.lowering for row in table.rows}
    assert (ways["conv1"], ways["act1"], ways["pool1"]) == ("block", "with conv1", "with conv1")
    assert table.macs == 416_520
    with F.lowering("xla"):
        plain = jaxcnn.ledger(models.lenet5(), (28, 28, 1))
    assert {row.lowering for row in plain.rows} == {"", "xla"}
    assert plain.macs == 416_520
    alexnet = {
        row.path: row.lowering for row in jaxcnn.ledger(models.alexnet(), (227, 227, 3)).rows
    }
    assert [alexnet[f"conv{i}"] for i in range(1, 6)] == ["gemm", "canonical", *["winograd"] * 3]


NAIVE = re.compile(r"convolution\([^\n]*dim_labels=(?!b01f_01io->b01f)")


def test_a_scanned_step_holds_no_naive_convolution():
    model, optimizer = models.deck_c_net(hidden=8), optim.optimizer("sgd", 0.1)
    step = train.make_train_step(
        nn.replace_layers(model, lambda x: nn.AvgPool(2) if x == nn.MaxPool(2) else x),
        losses.softmax_cross_entropy,
        optimizer,
    )
    key = jax.random.key(0)
    ts = train.init_train_state(model, optimizer, key, (28, 28, 1))
    batches = Batch(jnp.ones((2, 4, 28, 28, 1)), jnp.zeros((2, 4), jnp.int32), None)

    def text(setting):
        with F.lowering(setting):
            scanned = jax.jit(lambda ts, b: jax.lax.scan(lambda ts, b: step(ts, b, key), ts, b))
            return scanned.lower(ts, batches).compile().as_text()

    assert "convolution(" in text("auto")
    assert not NAIVE.search(text("auto"))
    assert NAIVE.search(text("xla"))  # what the test is for


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, k: F.conv2d(x, k, impl="fft"), "impl='fft' is not allowed: use 'auto', 'xla'"),
        (lambda x, k: F.conv2d(x, k, dilation=2, impl="gemm"), "impl='gemm' cannot compute"),
        (lambda x, k: F.conv2d(x, k, stride=2, rounding="floor", impl="winograd"), "needs a 3x3"),
        (lambda x, k: F.conv2d(x, k, impl="pointwise"), "needs windows of one cell"),
        (lambda x, k: F.conv2d(x, k, impl="depthwise"), "needs as many groups as input channels"),
        (lambda x, k: F.conv_relu_pool(x, k, impl="block"), "for 'block' even sizes"),
        (
            lambda x, k: F.conv_act_pool(x[:, 1:], k, None, jnp.tanh, "avg", impl="gemm"),
            "impl='gemm' cannot compute",
        ),
        (lambda x, k: F.max_pool(x, 2, rounding="floor", impl="gemm"), "use 'auto', 'xla', 'mask'"),
        (lambda x, k: F.lowering("fast"), "lowering 'fast' is not allowed: use 'auto', 'xla'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        call(jnp.ones((1, 7, 7, 2)), jnp.ones((3, 3, 2, 2)))
