"""Depthwise separable convolution, as two layers."""

from __future__ import annotations

from jaxcnn.functional.window import Padding, Size
from jaxcnn.nn.combine import Chain, chain
from jaxcnn.nn.conv import Conv, DepthwiseConv


def separable_conv(
    features: int,
    kernel: Size = 3,
    *,
    multiplier: int = 1,
    stride: Size = 1,
    padding: Padding = "VALID",
    bias: bool = True,
) -> Chain:
    """A depthwise, then a pointwise convolution; see `functional.separable_conv`.

    The depthwise one has no bias: the pointwise one's makes up for it. MobileNet's block,
    with normalization and ReLU in between, is a chain of the same two layers.

    >>> separable_conv(16, padding=1)
    chain(depthwise=DepthwiseConv(padding=1, bias=False), pointwise=Conv(features=16, kernel=1))
    """
    return chain(
        depthwise=DepthwiseConv(kernel, multiplier, stride=stride, padding=padding, bias=False),
        pointwise=Conv(features, 1, bias=bias),
    )
