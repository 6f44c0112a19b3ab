"""Parity with Flax of further layers: norms, attention and relatives of convolution."""

from __future__ import annotations

import jax
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import nn
from tests.test_interop_flax_parity import SEEDS, as_linen, as_ours, draw_of, params_of, same


def compare(layer, module, seed, shape):
    with jax.enable_x64(True):
        x = draw_of(seed, *shape)
        same(as_ours(layer), as_linen(module), params_of(layer, x, seed), x)


def check_layer_norm(seed, batch, space, channels):
    module = linen.LayerNorm(use_fast_variance=False)
    compare(nn.LayerNorm(), module, seed, (batch, *space, channels))


def check_group_norm(seed, batch, space, groups, each):
    module = linen.GroupNorm(groups, use_fast_variance=False)
    compare(nn.GroupNorm(groups), module, seed, (batch, *space, groups * each))


def check_attention(seed, batch, tokens, heads, each):
    module = linen.MultiHeadDotProductAttention(heads, deterministic=True)
    compare(nn.MultiHeadAttention(heads), module, seed, (batch, tokens, heads * each))


def check_depthwise_conv(seed, batch, channels, multiplier, stride):
    module = linen.Conv(
        channels * multiplier, (3, 3), strides=stride, padding="SAME", feature_group_count=channels
    )
    layer = nn.DepthwiseConv(3, multiplier, stride=stride, padding="SAME")
    compare(layer, module, seed, (batch, 5, 6, channels))


def check_conv_transpose(seed, batch, channels, stride, window):
    module = linen.ConvTranspose(
        3, window, strides=(stride, stride), padding="VALID", transpose_kernel=True
    )
    # Flax adds max(stride - window, 0) cells that no window reaches; ours has none.
    layer = nn.ConvTranspose(3, window, stride=stride)
    compare(layer, module, seed, (batch, 3, 4, channels))


def check_locally_connected(seed, batch, channels, stride):
    module = linen.ConvLocal(3, (2, 3), strides=(stride, stride), padding="VALID")
    layer = nn.LocallyConnected(3, (2, 3), stride=stride, rounding="floor")
    compare(layer, module, seed, (batch, 5, 6, channels))


BATCHES = st.integers(1, 3)
CHANNELS = st.integers(1, 3)
SPACES = st.sampled_from([(), (3,), (2, 3)])
WINDOWS = st.tuples(st.integers(2, 3), st.integers(2, 3))
CASES = {
    "LayerNorm": (check_layer_norm, {"space": SPACES, "channels": st.integers(2, 5)}),
    "GroupNorm": (
        check_group_norm,
        {"space": st.sampled_from([(3,), (2, 3)]), "groups": CHANNELS, "each": st.integers(1, 3)},
    ),
    "MultiHeadAttention": (
        check_attention,
        {"tokens": st.integers(1, 5), "heads": CHANNELS, "each": st.integers(1, 3)},
    ),
    "DepthwiseConv": (
        check_depthwise_conv,
        {"channels": CHANNELS, "multiplier": st.integers(1, 2), "stride": st.integers(1, 2)},
    ),
    "ConvTranspose": (
        check_conv_transpose,
        {"channels": CHANNELS, "stride": st.integers(1, 2), "window": WINDOWS},
    ),
    "LocallyConnected": (
        check_locally_connected,
        {"channels": CHANNELS, "stride": st.integers(1, 2)},
    ),
}


def run(name, draws):
    if not hasattr(nn, name):
        pytest.skip(f"there is no nn.{name}")
    check, given_by = CASES[name]
    checks = given(seed=SEEDS, batch=BATCHES, **given_by)(check)
    settings(max_examples=draws, deadline=None)(checks)()


FAST = ("DepthwiseConv", "GroupNorm")


@pytest.mark.parametrize("name", FAST)
def test_on_a_few_draws(name):
    run(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_on_many_draws(name):
    run(name, 100)
