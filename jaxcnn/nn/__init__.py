"""Layers, each a frozen description, and the combinators that make networks of them.

- kernels: `Conv`, `Dense`
- pooling: `MaxPool`, `AvgPool`, `Subsample`
- normalization and regularization: `BatchNorm`, `Dropout`
- pointwise: `relu`, `tanh`, `sigmoid`, `gelu`, `ramp`, `softmax`, `identity`, `LeakyRelu`,
  `ParametricRelu`, `Elu`, `Flatten`, `Pointwise`
- combinators: `chain`, `branch` with `add` or `concat`; `replace_layers` edits a network

A layer of your own is any frozen dataclass with `init` and `apply`: see `jaxcnn.Layer`.
"""

from jaxcnn.nn.combine import Branch, Chain, add, branch, chain, concat
from jaxcnn.nn.edit import replace_layers
from jaxcnn.nn.linear import Conv, Dense
from jaxcnn.nn.norm import BatchNorm
from jaxcnn.nn.pointwise import (
    Dropout,
    Elu,
    Flatten,
    LeakyRelu,
    ParametricRelu,
    Pointwise,
    gelu,
    identity,
    ramp,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from jaxcnn.nn.pool import AvgPool, MaxPool, Subsample

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Branch",
    "Chain",
    "Conv",
    "Dense",
    "Dropout",
    "Elu",
    "Flatten",
    "LeakyRelu",
    "MaxPool",
    "ParametricRelu",
    "Pointwise",
    "Subsample",
    "add",
    "branch",
    "chain",
    "concat",
    "gelu",
    "identity",
    "ramp",
    "relu",
    "replace_layers",
    "sigmoid",
    "softmax",
    "tanh",
]
