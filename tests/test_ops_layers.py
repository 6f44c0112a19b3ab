"""Layers beyond the laws: parameter trees of Flax, multiply-adds, dtypes, randomness."""

from __future__ import annotations

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import nn

SHAPE = (2, 5, 6, 4)


def twins():
    """Our layer, Flax's, and an input: one parameter tree serves both."""
    lin = flax.linen
    return {
        "conv": (nn.Conv(3, 3, stride=2, padding="SAME"), lin.Conv(3, (3, 3), strides=2), SHAPE),
        "depthwise": (
            nn.DepthwiseConv(3, 2),
            lin.Conv(8, (3, 3), feature_group_count=4, padding="VALID"),
            SHAPE,
        ),
        "transposed": (
            nn.ConvTranspose(3, 3, stride=2),
            lin.ConvTranspose(3, (3, 3), strides=(2, 2), padding="VALID", transpose_kernel=True),
            SHAPE,
        ),
        "transposed_stride_1": (
            nn.ConvTranspose(3, (3, 2), padding="SAME"),
            lin.ConvTranspose(3, (3, 2), transpose_kernel=True),
            SHAPE,
        ),
        "local": (nn.LocallyConnected(3, (3, 2)), lin.ConvLocal(3, (3, 2), padding="VALID"), SHAPE),
        "layer_norm": (nn.LayerNorm(), lin.LayerNorm(), SHAPE),
        "group_norm": (nn.GroupNorm(2), lin.GroupNorm(2), SHAPE),
        "attention": (
            nn.MultiHeadAttention(2),
            lin.MultiHeadDotProductAttention(2, deterministic=True),
            (2, 5, 8),
        ),
    }


@pytest.mark.parametrize("name", twins())
def test_a_flax_parameter_tree_can_be_used_as_it_is(name):
    ours, theirs, shape = twins()[name]
    x = jax.random.normal(jax.random.key(1), shape)
    params = theirs.init(jax.random.key(0), x)["params"]
    # Zero biases and unit scales would hide a mistake.
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(2), a.shape), params)
    mine, _ = jaxcnn.init(ours, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, dict(params)) == jax.tree.map(jnp.shape, mine)
    y, _ = jaxcnn.apply(ours, params, {}, x)
    np.testing.assert_allclose(y, theirs.apply({"params": params}, x), rtol=1e-4, atol=1e-5)


def macs(layer, shape):
    return jaxcnn.ledger(layer, shape).macs


def test_multiply_adds_of_transposed_convolution():
    """A stride costs nothing: every input cell is multiplied with every tap once."""
    for stride in (2, 3, (2, 1)):
        layer = nn.ConvTranspose(8, 3, stride=stride)
        assert macs(layer, (5, 6, 4)) == 5 * 6 * 9 * 4 * 8
    # Stride 1 is a plain convolution, whose padded cells count as they do in `Conv`.
    assert macs(nn.ConvTranspose(8, 3, padding=1), (5, 6, 4)) == 5 * 6 * 9 * 4 * 8
    assert macs(nn.ConvTranspose(8, 3), (5, 6, 4)) == 7 * 8 * 9 * 4 * 8


def test_stride_1_transposes_without_dilating():
    x, kernel = jnp.ones((1, 5, 5, 2)), jnp.ones((3, 3, 4, 2))
    jaxpr = str(jax.make_jaxpr(lambda x, k: F.conv_transpose(x, k, padding=1))(x, kernel))
    assert "conv_general_dilated" in jaxpr
    assert "lhs_dilation=(1, 1)" in jaxpr
    strided = str(jax.make_jaxpr(lambda x, k: F.conv_transpose(x, k, stride=2))(x, kernel))
    assert "conv_general_dilated" not in strided


def test_multiply_adds_of_other_layers():
    assert macs(nn.LocallyConnected(3, 3), (6, 5, 2)) == 4 * 3 * (9 * 2) * 3
    assert macs(nn.Maxout(3, 4), (5,)) == 5 * 12
    assert macs(nn.PatchEmbedding(8, 4), (8, 8, 3)) == 4 * 48 * 8
    tokens, width = 5, 8
    attention = 4 * tokens * width**2 + 2 * tokens**2 * width
    assert macs(nn.MultiHeadAttention(2), (tokens, width)) == attention
    for free in (nn.LayerNorm(), nn.GlobalAvgPool(), nn.ChannelPool(2), nn.LocalResponseNorm()):
        assert macs(free, (3, 4, 8)) == 0


def test_statistics_of_bfloat16_are_float32():
    """Of 4096 values near 8, bfloat16 sums and squares would keep no digits of the spread."""
    x32 = 8 + 0.1 * jax.random.normal(jax.random.key(0), (1, 8, 8, 64))
    x = x32.astype(jnp.bfloat16)
    for norm in (F.layer_norm, lambda x: F.group_norm(x, groups=2)):
        got, exact = norm(x), norm(x.astype(jnp.float32))
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.astype(jnp.float32), exact, rtol=0.01, atol=0.01)
    mean = F.global_avg_pool(x)
    assert mean.dtype == jnp.bfloat16
    exact = jnp.mean(x.astype(jnp.float32), (1, 2))
    np.testing.assert_allclose(mean.astype(jnp.float32), exact, rtol=0.004)
    weights = F.attention_weights(x.reshape(1, 64, 4, 16), x.reshape(1, 64, 4, 16))
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_spatial_dropout_drops_whole_channels(rate):
    x = jnp.ones((50, 3, 2, 40))
    y = F.spatial_dropout(x, jax.random.key(0), rate=rate)
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[:, :1, :1], x.shape))
    np.testing.assert_allclose(np.unique(y), [1.0] if rate == 0 else [0, 1 / (1 - rate)])
    assert abs(float((y == 0).mean()) - rate) < 0.03


def test_local_response_norm_of_other_libraries():
    """AlexNet: k = 2, n = 5, alpha = 1e-4 not divided by n. Caffe and PyTorch divide it."""
    x = 20 * jax.random.normal(jax.random.key(0), (2, 3, 3, 8))
    energy = sum(jnp.pad(x**2, ((0, 0),) * 3 + ((2, 2),))[..., j : j + 8] for j in range(5))
    paper = x / (2 + 1e-4 * energy) ** 0.75
    np.testing.assert_allclose(F.local_response_norm(x), paper, rtol=1e-5)
    caffe = x / (1 + 1e-4 / 5 * energy) ** 0.75
    np.testing.assert_allclose(F.local_response_norm(x, k=1.0, alpha=1e-4 / 5), caffe, rtol=1e-5)


def test_initial_kernels_count_the_inputs_of_one_unit():
    """Variance 1 / fan_in, where the layout does not put the inputs last but one."""
    for layer, shape, fan_in in (
        (nn.ConvTranspose(50, 3), (4, 4, 20), 9 * 20),
        (nn.LocallyConnected(20, 3), (8, 8, 10), 9 * 10),
        (nn.MultiHeadAttention(4), (5, 64), 64),
    ):
        params, _ = jaxcnn.init(layer, jax.random.key(0), shape)
        kernel = params.get("kernel", params.get("query", {}).get("kernel"))
        np.testing.assert_allclose(jnp.var(kernel) * fan_in, 1, rtol=0.05)


def test_attention_does_not_know_places_and_the_class_token_comes_first():
    model = nn.chain(embed=nn.PatchEmbedding(8, 2), cls=nn.ClassToken())
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 3))
    params, _ = jaxcnn.init(model, jax.random.key(1), x)
    params["cls"]["cls"] += 7
    tokens, _ = jaxcnn.apply(model, params, {}, x)
    assert tokens.shape == (2, 7, 8)
    np.testing.assert_array_equal(tokens[:, 0], np.full((2, 8), 7.0))
    kernel = params["embed"]["kernel"].reshape(-1, 8)
    np.testing.assert_allclose(
        tokens[:, 5], x[:, 2:4, 2:4].reshape(2, -1) @ kernel, rtol=1e-5, atol=1e-5
    )

    block = nn.encoder_block(8, heads=2, hidden=16)
    params, _ = jaxcnn.init(block, jax.random.key(2), tokens)
    order = jnp.asarray([3, 0, 6, 1, 2, 5, 4])
    y, _ = jaxcnn.apply(block, params, {}, tokens)
    shuffled, _ = jaxcnn.apply(block, params, {}, tokens[:, order])
    np.testing.assert_allclose(shuffled, y[:, order], rtol=1e-4, atol=1e-5)


def test_encoder_block_is_the_formula():
    block = nn.encoder_block(4, heads=2, hidden=6)
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    params, _ = jaxcnn.init(block, jax.random.key(1), x)
    attend, think = params["attend"]["body"], params["think"]["body"]
    h, _ = jaxcnn.apply(nn.MultiHeadAttention(2), attend["attention"], {}, F.layer_norm(x))
    h = x + h
    mlp = think["mlp"]
    inner = F.gelu(F.dense(F.layer_norm(h), mlp["dense1"]["kernel"]))
    expected = h + F.dense(inner, mlp["dense2"]["kernel"])
    y, _ = jaxcnn.apply(block, params, {}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
