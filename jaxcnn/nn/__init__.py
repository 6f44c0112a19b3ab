"""Layers, each a frozen description, and the combinators that make networks of them.

- kernels: `Conv`, `Dense`
- pooling: `MaxPool`, `AvgPool`, `Subsample`
- normalization and regularization: `BatchNorm`, `Dropout`
- pointwise: `relu`, `tanh`, `sigmoid`, `softmax`, `identity`, `Flatten`, `Pointwise`
- combinators: `chain`, `branch` with `add` or `concat`; `replace_layers` edits a network

A layer of your own is any frozen dataclass with `init` and `apply`: see `jaxcnn.Layer`.
"""

from jaxcnn.nn.combine import Branch, Chain, add, branch, chain, concat
from jaxcnn.nn.edit import replace_layers
from jaxcnn.nn.linear import Conv, Dense
from jaxcnn.nn.norm import BatchNorm
from jaxcnn.nn.pointwise import (
    Dropout,
    Flatten,
    Pointwise,
    identity,
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
    "Flatten",
    "MaxPool",
    "Pointwise",
    "Subsample",
    "add",
    "branch",
    "chain",
    "concat",
    "identity",
    "relu",
    "replace_layers",
    "sigmoid",
    "softmax",
    "tanh",
]
