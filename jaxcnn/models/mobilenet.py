"""MobileNet (Howard et al. 2017): depthwise separable convolutions throughout."""

from __future__ import annotations

import math

from jaxcnn import initializers, nn
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer

_STEM = 32  # channels of the first convolution
_BLOCKS = (  # channels and stride of each block, table 1 of the paper
    (64, 1),
    (128, 2), (128, 1),
    (256, 2), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
    (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet(*, classes: int = 1000, width: float = 1.0) -> nn.Chain:
    """MobileNet v1 for 224x224 images: 4,231,976 parameters, 568,740,352 multiply-adds.

    A convolution, then 13 blocks, each a depthwise 3x3 and a 1x1 convolution, both with batch
    normalization and ReLU. With F outputs a block needs `1/F + 1/9` of the multiply-adds of a
    plain 3x3 convolution.

    Args:
      classes: number of outputs.
      width: factor on the channels of all layers, rounded; the paper's are 1, 0.75, 0.5, 0.25.

    Images of any size will do; the paper's smaller ones (its "resolution multiplier") are 192,
    160 and 128. Padding is "SAME", as in the authors' TensorFlow code: an odd cell of it goes
    below and to the right. The paper's table gives block 13 a stride of 2, but its maps, 7x7
    before and after, only fit a stride of 1.

    Raises:
      ConfigError: `width` leaves the first layer less than one channel, or is not finite.

    >>> import jaxcnn
    >>> jaxcnn.ledger(mobilenet(), (224, 224, 3)).params
    4231976

    Source: Howard et al. 2017, "MobileNets"; deck C, "depthwise convolution
    + pointwise convolution".
    """
    if not (math.isfinite(width) and width * _STEM >= 1):
        raise ConfigError(
            f"width={width!r} is not allowed: expected a finite number from 1/{_STEM}, which "
            "leaves the first layer one channel. The paper's are 1, 0.75, 0.5 and 0.25."
        )
    layers: dict[str, Layer] = {
        "stem": nn.Conv(
            round(width * _STEM),
            3,
            stride=2,
            padding="SAME",
            bias=False,  # the norm after it has one
            kernel_init=initializers.he_normal,
        ),
        "norm": nn.BatchNorm(),
        "act": nn.relu,
    }
    for number, (features, stride) in enumerate(_BLOCKS, start=1):
        layers[f"block{number}"] = _block(round(width * features), stride)
    return nn.chain(**layers, mean=nn.GlobalAvgPool(), logits=nn.Dense(classes))


def _block(features: int, stride: int) -> nn.Chain:
    return nn.chain(
        depthwise=nn.DepthwiseConv(
            3, stride=stride, padding="SAME", bias=False, kernel_init=initializers.he_normal
        ),
        norm1=nn.BatchNorm(),
        act1=nn.relu,
        pointwise=nn.Conv(features, 1, bias=False, kernel_init=initializers.he_normal),
        norm2=nn.BatchNorm(),
        act2=nn.relu,
    )
