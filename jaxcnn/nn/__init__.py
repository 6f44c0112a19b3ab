"""Layers, each a frozen description, and the combinators that make networks of them.

- kernels: `Conv`, `DepthwiseConv`, `separable_conv`, `ConvTranspose`, `LocallyConnected`,
  `Dense`, `Maxout`
- pooling: `MaxPool`, `AvgPool`, `Subsample`, `GlobalAvgPool`, `GlobalMaxPool`, `ChannelPool`
- normalization: `BatchNorm`, `LayerNorm`, `GroupNorm`, `LocalResponseNorm`
- regularization: `Dropout`, `SpatialDropout`
- pointwise: `relu`, `tanh`, `sigmoid`, `gelu`, `ramp`, `softmax`, `identity`, `LeakyRelu`,
  `ParametricRelu`, `Elu`, `Flatten`, `Pointwise`
- vision transformer: `PatchEmbedding`, `ClassToken`, `PositionEmbedding`,
  `MultiHeadAttention`, `gelu_mlp`, `encoder_block`, `first_token`
- combinators: `chain`, `branch` with `add` or `concat`; `replace_layers` edits a network

A layer of your own is any frozen dataclass with `init` and `apply`: see `jaxcnn.Layer`.
"""

from jaxcnn.nn.attention import (
    ClassToken,
    MultiHeadAttention,
    PatchEmbedding,
    PositionEmbedding,
    encoder_block,
    first_token,
    gelu_mlp,
)
from jaxcnn.nn.combine import Branch, Chain, add, branch, chain, concat
from jaxcnn.nn.conv import Conv, ConvTranspose, DepthwiseConv, LocallyConnected
from jaxcnn.nn.edit import replace_layers
from jaxcnn.nn.linear import Dense, Maxout
from jaxcnn.nn.norm import BatchNorm, GroupNorm, LayerNorm, LocalResponseNorm
from jaxcnn.nn.pointwise import (
    Dropout,
    Elu,
    Flatten,
    LeakyRelu,
    ParametricRelu,
    Pointwise,
    SpatialDropout,
    gelu,
    identity,
    ramp,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from jaxcnn.nn.pool import (
    AvgPool,
    ChannelPool,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool,
    Subsample,
)
from jaxcnn.nn.separable import separable_conv

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Branch",
    "Chain",
    "ChannelPool",
    "ClassToken",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthwiseConv",
    "Dropout",
    "Elu",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "LayerNorm",
    "LeakyRelu",
    "LocalResponseNorm",
    "LocallyConnected",
    "MaxPool",
    "Maxout",
    "MultiHeadAttention",
    "ParametricRelu",
    "PatchEmbedding",
    "Pointwise",
    "PositionEmbedding",
    "SpatialDropout",
    "Subsample",
    "add",
    "branch",
    "chain",
    "concat",
    "encoder_block",
    "first_token",
    "gelu",
    "gelu_mlp",
    "identity",
    "ramp",
    "relu",
    "replace_layers",
    "separable_conv",
    "sigmoid",
    "softmax",
    "tanh",
]
