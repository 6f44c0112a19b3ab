"""Pooling layers."""

from __future__ import annotations

import dataclasses

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.functional import check
from jaxcnn.functional.window import Padding, Rounding, Size
from jaxcnn.initializers import Initializer
from jaxcnn.layer import Context, concise_repr
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The largest value of each window; see `functional.max_pool`."""

    window: Size = 2
    _: dataclasses.KW_ONLY
    stride: Size | None = None
    padding: Padding = "VALID"
    rounding: Rounding = "exact"
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        y = F.max_pool(
            x, self.window, stride=self.stride, padding=self.padding, rounding=self.rounding
        )
        return y, state


@dataclasses.dataclass(frozen=True)
class AvgPool:
    """The mean of each window; see `functional.avg_pool`."""

    window: Size = 2
    _: dataclasses.KW_ONLY
    stride: Size | None = None
    padding: Padding = "VALID"
    rounding: Rounding = "exact"
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        y = F.avg_pool(
            x, self.window, stride=self.stride, padding=self.padding, rounding=self.rounding
        )
        return y, state


@dataclasses.dataclass(frozen=True)
class Subsample:
    """LeNet's sub-sampling: the sum of each window times a coefficient plus a bias.

    Parameters: `scale` [C], the trainable coefficient, which starts at 1 / cells (so that
    the layer starts as average pooling of 2x2 windows), and `bias` [C].

    Source: LeCun et al. 1998, layers S2 and S4; deck E.
    """

    window: Size = 2
    _: dataclasses.KW_ONLY
    scale_init: Initializer = initializers.Constant(0.25)
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        shape = (x.shape[-1],)
        return {"scale": self.scale_init(key, shape), "bias": self.bias_init(key, shape)}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        total = F.sum_pool(x, self.window)
        scale, bias = (
            params[name].astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
            for name in ("scale", "bias")
        )
        return total * scale + bias, state


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool:
    """The mean of each channel over space, [N, C]; see `functional.global_avg_pool`."""

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.global_avg_pool(x), state


@dataclasses.dataclass(frozen=True)
class GlobalMaxPool:
    """The largest value of each channel, [N, C]; see `functional.global_max_pool`."""

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.global_max_pool(x), state


@dataclasses.dataclass(frozen=True)
class ChannelPool:
    """The largest of each group of neighbouring channels; see `functional.channel_pool`."""

    window: int = 2
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.window, "window")

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key, x  # no parameters
        return {}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del params, ctx  # no parameters, and the same while training
        return F.channel_pool(x, self.window), state
