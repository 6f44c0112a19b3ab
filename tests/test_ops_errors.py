"""Every refusal says what was got, what is allowed and what to do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcnn
from jaxcnn import functional as F
from jaxcnn import nn
from jaxcnn.errors import ConfigError, ShapeError

X = jnp.ones((1, 4, 4, 2))
K = jnp.ones((3, 3, 2, 4))
TOKENS = jnp.ones((1, 3, 4))

REFUSED = {
    "padding_mode": (
        lambda: F.conv2d(X, K, padding=1, padding_mode="wrap"),
        ConfigError,
        "padding_mode='wrap' is not allowed: use 'zeros', 'reflect' or 'edge'",
    ),
    "pads": (
        lambda: F.pad(X, [(1, 1)]),
        ConfigError,
        r"expected \(low, high\), none negative, for each of the 2 spatial axes",
    ),
    "reflect": (
        lambda: F.conv2d(X, jnp.ones((9, 9, 2, 1)), padding=4, padding_mode="reflect"),
        ShapeError,
        r"reflect padding 4\+4 is wider than the input of 4 minus its border cell on spatial "
        r"axis 0.\nPad at most 3",
    ),
    "conv1d": (lambda: F.conv1d(X, K), ShapeError, r"expected \[N, L, C\]"),
    "conv3d": (lambda: F.conv3d(X, K), ShapeError, r"expected \[N, D, H, W, C\]"),
    "true_conv": (lambda: F.true_conv(X[0, 0], K), ShapeError, r"expected \[N, \*space, C\]"),
    "pointwise": (lambda: F.pointwise_conv(X, K), ShapeError, "is not pointwise: expected"),
    "depthwise": (
        lambda: F.depthwise_conv(X, jnp.ones((3, 3, 1, 3))),
        ConfigError,
        "must divide both the 2 input channels and the 3 output channels",
    ),
    "transpose_kernel": (
        lambda: F.conv_transpose(X, K),
        ShapeError,
        "expected 2 window axes, then C_out / groups, then C_in=2.\nIt is the kernel of the conv",
    ),
    "transpose_groups": (
        lambda: F.conv_transpose(X, jnp.ones((3, 3, 4, 2)), groups=3),
        ConfigError,
        "groups=3 is not allowed: it must divide the 2 input channels",
    ),
    "transpose_bias": (
        lambda: F.conv_transpose(X, jnp.ones((3, 3, 4, 2)), jnp.ones(2)),
        ShapeError,
        r"bias is float32\[2\], expected \[4\]",
    ),
    "transpose_size": (
        lambda: F.conv_transpose(X, jnp.ones((3, 3, 4, 2)), stride=2, size=11),
        ShapeError,
        r"output size of 11 on spatial axis 0: .* only 9 to 10 \(and at least 1\) convolve to 4",
    ),
    "transpose_nothing_left": (
        lambda: F.conv_transpose(X[:, :1, :1], jnp.ones((3, 3, 4, 2)), padding=2),
        ShapeError,
        "output size of -1",
    ),
    "local_kernel": (
        lambda: F.locally_connected(X, jnp.ones((3, 3, 8, 1)), window=3),
        ShapeError,
        r"expected \[2, 2, 18\], a row for each place",
    ),
    "local_bias": (
        lambda: F.locally_connected(X, jnp.ones((2, 2, 18, 5)), jnp.ones(5), window=3),
        ShapeError,
        r"bias is float32\[5\], expected \[2, 2, 5\]",
    ),
    "toeplitz": (
        lambda: F.toeplitz(jnp.ones((3, 3, 3, 1, 1)), 4),
        ShapeError,
        r"expected \[l, C_in, C_out\] or \[h, w, C_in, C_out\]",
    ),
    "bank": (
        lambda: F.filters.bank(np.ones((3, 3)), np.ones((2, 3))),
        ShapeError,
        r"expected at least one, all \[h, w\]",
    ),
    "bank_of_none": (lambda: F.filters.bank(), ShapeError, "expected at least one"),
    "gabor": (
        lambda: F.filters.gabor(0),
        ConfigError,
        "size=0 is not allowed: expected a positive",
    ),
    "channel_pool": (
        lambda: F.channel_pool(TOKENS, 3),
        ShapeError,
        "groups of 3 channels do not divide the channels evenly",
    ),
    "channel_window": (
        lambda: F.channel_pool(TOKENS, 0),
        ConfigError,
        "window=0 is not allowed: expected a positive int",
    ),
    "channel_pool_dtype": (
        lambda: F.channel_pool(jnp.ones((1, 4), jnp.int32)),
        ShapeError,
        "expected a floating dtype",
    ),
    "layer_norm_scale": (
        lambda: F.layer_norm(TOKENS, jnp.ones(3)),
        ShapeError,
        r"scale is float32\[3\] for an input float32\[1, 3, 4\]: expected \[4\]",
    ),
    "group_norm": (
        lambda: F.group_norm(X, groups=3),
        ConfigError,
        "groups=3 is not allowed: it must divide the 2 channels",
    ),
    "group_norm_bias": (
        lambda: F.group_norm(X, None, jnp.ones(1), groups=1),
        ShapeError,
        r"bias is float32\[1\]",
    ),
    "lrn_even": (
        lambda: F.local_response_norm(X, window=4),
        ConfigError,
        "window=4, k=2.0 is not allowed: the window is a positive odd number",
    ),
    "lrn_k": (lambda: F.local_response_norm(X, k=0.0), ConfigError, "k is positive"),
    "spatial_dropout": (
        lambda: F.spatial_dropout(X, jax.random.key(0), rate=1.0),
        ConfigError,
        "rate=1.0 is not allowed",
    ),
    "attention_heads": (
        lambda: F.attention_weights(jnp.ones((1, 3, 2, 4)), jnp.ones((1, 3, 1, 4))),
        ShapeError,
        r"do not fit: expected \[N, Q, heads, d\] and \[N, K, heads, d\]",
    ),
    "attention_values": (
        lambda: F.attention(*[jnp.ones((1, 3, 2, 4))] * 2, jnp.ones((1, 2, 2, 4))),
        ShapeError,
        "expected one value for each key",
    ),
    "patches_that_do_not_tile": (
        lambda: F.patch_embedding(X, jnp.ones((3, 3, 2, 4))),
        ShapeError,
        "stride 3 does not fit on spatial axis 0",
    ),
    "features": (lambda: nn.ConvTranspose(0), ConfigError, "features=0 is not allowed"),
    "local_features": (lambda: nn.LocallyConnected(0), ConfigError, "features=0 is not allowed"),
    "multiplier": (lambda: nn.DepthwiseConv(3, 0), ConfigError, "multiplier=0 is not allowed"),
    "pieces": (lambda: nn.Maxout(3, 0), ConfigError, "pieces=0 is not allowed"),
    "maxout_features": (lambda: nn.Maxout(-1), ConfigError, "features=-1 is not allowed"),
    "pool_window": (lambda: nn.ChannelPool(0), ConfigError, "window=0 is not allowed"),
    "groups": (lambda: nn.GroupNorm(0), ConfigError, "groups=0 is not allowed"),
    "epsilon": (
        lambda: nn.LayerNorm(0.0),
        ConfigError,
        "epsilon=0.0 is not allowed: expected a pos",
    ),
    "group_epsilon": (lambda: nn.GroupNorm(2, -1.0), ConfigError, "epsilon=-1.0 is not allowed"),
    "spatial_rate": (lambda: nn.SpatialDropout(1.5), ConfigError, "rate=1.5 is not allowed"),
    "heads": (lambda: nn.MultiHeadAttention(0), ConfigError, "heads=0 is not allowed"),
    "heads_do_not_divide": (
        lambda: jaxcnn.init(nn.MultiHeadAttention(3), jax.random.key(0), (3, 4)),
        ShapeError,
        "3 heads do not divide the 4 channels",
    ),
    "patch_features": (lambda: nn.PatchEmbedding(0, 4), ConfigError, "features=0 is not allowed"),
    "class_token_of_images": (
        lambda: jaxcnn.init(nn.ClassToken(), jax.random.key(0), (3, 4, 2)),
        ShapeError,
        r"expected \[N, L, C\]",
    ),
    "more_tokens_than_positions": (
        lambda: nn.PositionEmbedding().apply(
            {"pos_embedding": jnp.ones((1, 2, 4))}, {}, TOKENS, jaxcnn.layer.Context()
        ),
        ShapeError,
        r"positions float32\[1, 2, 4\] were learned.\nApply the network to images of the size",
    ),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refusal(case):
    attempt, kind, text = REFUSED[case]
    with pytest.raises(kind, match=text):
        attempt()
