"""Layers with windows: convolution and its relatives."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
from jaxcnn.functional.padding import PaddingMode
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
      stride, padding, padding_mode, dilation, groups, rounding: as in `functional.conv`.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [*window, C_in / groups, features], `bias` [features].

    Differs from `flax.linen.Conv`: padding is "VALID" unless said otherwise, and an int
    `kernel` spans all spatial axes. A `kernel` of 1 is the pointwise ("1x1") convolution.
    """

    features: int
    kernel: Size = 3
    _: dataclasses.KW_ONLY
    stride: Size = 1
    padding: Padding = "VALID"
    padding_mode: PaddingMode = "zeros"
    dilation: Size = 1
    groups: int = 1
    rounding: Rounding = "exact"
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
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
            padding_mode=self.padding_mode,
            dilation=self.dilation,
            groups=self.groups,
            rounding=self.rounding,
        )
        return y, state


@dataclasses.dataclass(frozen=True)
class DepthwiseConv:
    """Convolution of every channel on its own; see `functional.depthwise_conv`.

    Attributes:
      kernel: cells of the window along each axis.
      multiplier: outputs of each channel.
      stride, padding, padding_mode, dilation, rounding: as in `functional.conv`.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [*window, 1, C * multiplier], `bias` [C * multiplier]: those of
    `flax.linen.Conv` with `feature_group_count=C`.
    """

    kernel: Size = 3
    multiplier: int = 1
    _: dataclasses.KW_ONLY
    stride: Size = 1
    padding: Padding = "VALID"
    padding_mode: PaddingMode = "zeros"
    dilation: Size = 1
    rounding: Rounding = "exact"
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.multiplier, "multiplier")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        return self._of(x).init(key, x)

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        return self._of(x).apply(params, state, x, ctx)

    def _of(self, x: Array | Spec) -> Conv:
        """The grouped convolution that this is, once the channels are known."""
        check.images(x)
        return Conv(
            x.shape[-1] * self.multiplier,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            padding_mode=self.padding_mode,
            dilation=self.dilation,
            groups=x.shape[-1],
            rounding=self.rounding,
            bias=self.bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
        )


@dataclasses.dataclass(frozen=True)
class ConvTranspose:
    """Transposed convolution: the adjoint of `Conv`; see `functional.conv_transpose`.

    Attributes:
      features: number of output channels.
      kernel: cells of the window along each axis.
      stride, padding, dilation, size: as in `functional.conv_transpose`.
      bias: whether a bias is added.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [*window, features, C_in], `bias` [features]: those of
    `flax.linen.ConvTranspose` with `transpose_kernel=True`. Differs from it: padding is that
    of the convolution that is transposed, and the initial values count C_in, not `features`,
    as inputs of a unit.
    """

    features: int
    kernel: Size = 3
    _: dataclasses.KW_ONLY
    stride: Size = 1
    padding: Padding = "VALID"
    dilation: Size = 1
    size: Size | None = None
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        window = per_axis(self.kernel, check.images(x), "kernel")
        # Drawn with inputs before outputs, so that the initializer sees the right fan-in.
        kernel = self.kernel_init(key, (*window, x.shape[-1], self.features))
        params: Params = {"kernel": jnp.swapaxes(kernel, -1, -2)}
        if self.bias:
            params["bias"] = self.bias_init(key, (self.features,))
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        y = F.conv_transpose(
            x,
            params["kernel"].astype(x.dtype),
            params["bias"].astype(x.dtype) if self.bias else None,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            size=self.size,
        )
        return y, state


@dataclasses.dataclass(frozen=True)
class LocallyConnected:
    """Convolution without shared weights; see `functional.locally_connected`.

    Attributes:
      features: number of output channels.
      kernel: cells of the window along each axis.
      stride, padding, dilation, rounding: as in `functional.conv`.
      bias: whether a bias is added, one for each place and output.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [*space', C_in * cells of the window, features], `bias` [*space',
    features]: those of `flax.linen.ConvLocal`. Differs from it: each place draws its initial
    kernel as a layer of its own; Flax counts all places as inputs of a unit.
    """

    features: int
    kernel: Size = 3
    _: dataclasses.KW_ONLY
    stride: Size = 1
    padding: Padding = "VALID"
    dilation: Size = 1
    rounding: Rounding = "exact"
    bias: bool = True
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        rank = check.images(x)
        seen = jax.eval_shape(self._patches, x)  # [N, *space', C_in, *window]
        places = seen.shape[1 : 1 + rank]
        shape = (math.prod(seen.shape[1 + rank :]), self.features)
        keys = jax.random.split(key, math.prod(places))
        kernel = jax.vmap(lambda key: self.kernel_init(key, shape))(keys)
        params: Params = {"kernel": kernel.reshape(*places, *shape)}
        if self.bias:
            params["bias"] = self.bias_init(key, (*places, self.features))
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        y = F.locally_connected(
            x,
            params["kernel"].astype(x.dtype),
            params["bias"].astype(x.dtype) if self.bias else None,
            window=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            rounding=self.rounding,
        )
        return y, state

    def _patches(self, x: Array) -> Array:
        return F.patches(
            x,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            rounding=self.rounding,
        )
