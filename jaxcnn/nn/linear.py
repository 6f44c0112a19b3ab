"""Layers with kernels: convolution and dense."""

from __future__ import annotations

import dataclasses

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
from jaxcnn.functional.window import Padding, Rounding, Size, per_axis
from jaxcnn.initializers import Initializer
from jaxcnn.layer import Context, concise_repr
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolution over as many spatial axes as the input has; see `functional.conv`.

    Attributes:
      features: number of output channels.
      kernel: cells of the window along each axis.
      stride, padding, dilation, groups, rounding: as in `functional.conv`.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values; a constant kernel is refused.

    Parameters: `kernel` [*window, C_in / groups, features], `bias` [features].

    Differs from `flax.linen.Conv`: padding is "VALID" unless said otherwise, and an int
    `kernel` spans all spatial axes.
    """

    features: int
    kernel: Size = 3
    _: dataclasses.KW_ONLY
    stride: Size = 1
    padding: Padding = "VALID"
    dilation: Size = 1
    groups: int = 1
    rounding: Rounding = "exact"
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        _check_features(self.features)
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        rank = check.images(x)
        window = per_axis(self.kernel, rank, "kernel")
        if self.groups < 1 or x.shape[-1] % self.groups:
            raise ConfigError(
                f"groups={self.groups} is not allowed: it must divide the "
                f"{x.shape[-1]} input channels."
            )
        shape = (*window, x.shape[-1] // self.groups, self.features)
        params: Params = {"kernel": self.kernel_init(key, shape)}
        if self.bias:
            params["bias"] = self.bias_init(key, (self.features,))
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        y = F.conv(
            x,
            params["kernel"].astype(x.dtype),
            params["bias"].astype(x.dtype) if self.bias else None,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            rounding=self.rounding,
        )
        return y, state


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
        _check_features(self.features)
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


def _check_features(features: int) -> None:
    if not isinstance(features, int) or features < 1:
        raise ConfigError(f"features={features!r} is not allowed: expected a positive int.")
