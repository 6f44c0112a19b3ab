"""Layers with dense kernels."""

from __future__ import annotations

import dataclasses

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.functional import check
from jaxcnn.initializers import Initializer
from jaxcnn.layer import Context, concise_repr
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class Dense:
    """Fully connected layer over the last axis: `y = x W + b`; see `functional.dense`.

    Attributes:
      features: number of outputs.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values; a constant kernel is refused.

    Parameters: `kernel` [n_in, features], `bias` [features].
    """

    features: int
    _: dataclasses.KW_ONLY
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        params: Params = {"kernel": self.kernel_init(key, (x.shape[-1], self.features))}
        if self.bias:
            params["bias"] = self.bias_init(key, (self.features,))
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        bias = params["bias"].astype(x.dtype) if self.bias else None
        return F.dense(x, params["kernel"].astype(x.dtype), bias), state


@dataclasses.dataclass(frozen=True)
class Maxout:
    """The largest of several dense maps, for each output; see `functional.maxout`.

    Attributes:
      features: number of outputs.
      pieces: how many maps the maximum is taken of.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [n_in, features * pieces], `bias` [features * pieces], the pieces of
    one output side by side.

    A convolutional maxout is `chain(conv=Conv(features * pieces), pool=ChannelPool(pieces))`.
    """

    features: int
    pieces: int = 2
    _: dataclasses.KW_ONLY
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
        check.positive(self.pieces, "pieces")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        outputs = self.features * self.pieces
        params: Params = {"kernel": self.kernel_init(key, (x.shape[-1], outputs))}
        if self.bias:
            params["bias"] = self.bias_init(key, (outputs,))
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        bias = params["bias"].astype(x.dtype) if self.bias else None
        return F.maxout(x, params["kernel"].astype(x.dtype), bias, pieces=self.pieces), state
