"""Residual networks (He, Zhang, Ren and Sun 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from jaxcnn import initializers, nn
from jaxcnn.layer import Layer
from jaxcnn.typing import Array


def resnet18(classes: int = 1000) -> nn.Chain:
    """ResNet-18 for 224x224 images: 11,689,512 parameters.

    >>> import jaxcnn
    >>> jaxcnn.ledger(resnet18(), (224, 224, 3)).params
    11689512
    """
    return _imagenet((2, 2, 2, 2), bottleneck=False, classes=classes)


def resnet50(classes: int = 1000) -> nn.Chain:
    """ResNet-50 for 224x224 images: 25,557,032 parameters.

    The stride of a block is in its 3x3 convolution, as in all later implementations; the paper
    has it in the first 1x1.

    >>> import jaxcnn
    >>> jaxcnn.ledger(resnet50(), (224, 224, 3)).params
    25557032
    """
    return _imagenet((3, 4, 6, 3), bottleneck=True, classes=classes)


def resnet20(classes: int = 10) -> nn.Chain:
    """ResNet-20 for 32x32 images: 269,722 parameters, 40,551,040 multiply-adds on colour.

    Where a block halves the image, its skip path takes every other pixel and fills up the
    channels with zeros (the paper's option A), so it has no parameters.

    >>> import jaxcnn
    >>> jaxcnn.ledger(resnet20(), (32, 32, 3)).params
    269722
    """
    layers: dict[str, Layer] = {"stem": _conv(16, 3), "norm": nn.BatchNorm(), "act": nn.relu}
    for stage, features in enumerate((16, 32, 64), start=1):
        for number in range(1, 4):
            halve = stage > 1 and number == 1
            body = _plain_body(features, stride=2 if halve else 1)
            skip: Layer = halve_and_pad if halve else nn.identity
            layers[f"block{stage}_{number}"] = _residual(body, skip)
    return nn.chain(**layers, pool=nn.GlobalAvgPool(), logits=nn.Dense(classes))


def resnet9(classes: int = 10) -> nn.Chain:
    """The network of 9 layers that made training on CIFAR-10 fast: 6,573,120 parameters.

    Convolutions of 64, 128, 256 and 512 features, each but the first with 2x2 max pooling, a
    residual block behind the second and the fourth, the maximum over space, and one dense layer
    without bias whose output is divided by 8. It wants 32x32 images, or others of at least 8x8.

    >>> import jaxcnn
    >>> jaxcnn.ledger(resnet9(), (32, 32, 3)).params
    6573120

    Source: Page 2018, "How to train your ResNet", after Coleman et al. 2017 (DAWNBench).
    """
    layers: dict[str, Layer] = _normed("", 64)
    for stage, features in enumerate((128, 256, 512), start=1):
        layers |= {**_normed(f"{stage}", features), f"pool{stage}": nn.MaxPool(2)}
        if stage != 2:
            body = nn.chain(**_normed("1", features), **_normed("2", features))
            layers[f"block{stage}"] = nn.branch(nn.add, body=body, skip=nn.identity)
    return nn.chain(
        **layers, peak=nn.GlobalMaxPool(), dense=nn.Dense(classes, bias=False), logits=eighth
    )


def _normed(number: str, features: int) -> dict[str, Layer]:
    names = ("conv", "norm", "act") if number else ("stem", "norm", "act")
    layers: tuple[Layer, ...] = (_conv(features, 3), nn.BatchNorm(), nn.relu)
    return {name + number: layer for name, layer in zip(names, layers, strict=True)}


def _eighth(x: Array) -> Array:
    return x * 0.125


eighth = nn.Pointwise("eighth", _eighth)


def _halve_and_pad(x: Array) -> Array:
    """Every other pixel, [N, H/2, W/2, 2C]: zeros in the channels before and after."""
    channels = x.shape[-1]
    sides = (channels // 2, channels - channels // 2)
    return jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), sides))


halve_and_pad = nn.Pointwise("halve_and_pad", _halve_and_pad)


def _imagenet(counts: Sequence[int], *, bottleneck: bool, classes: int) -> nn.Chain:
    layers: dict[str, Layer] = {
        "stem": _conv(64, 7, stride=2),
        "norm": nn.BatchNorm(),
        "act": nn.relu,
        "pool": nn.MaxPool(3, stride=2, padding=1, rounding="floor"),
    }
    previous = 64
    for stage, count in enumerate(counts, start=1):
        features = 64 * 2 ** (stage - 1)
        outputs = 4 * features if bottleneck else features
        for number in range(1, count + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            make = _bottleneck_body if bottleneck else _plain_body
            skip: Layer = nn.identity
            if stride > 1 or previous != outputs:
                skip = nn.chain(conv=_conv(outputs, 1, stride=stride), norm=nn.BatchNorm())
            layers[f"block{stage}_{number}"] = _residual(make(features, stride=stride), skip)
            previous = outputs
    return nn.chain(**layers, mean=nn.GlobalAvgPool(), logits=nn.Dense(classes))


def _residual(body: Layer, skip: Layer) -> nn.Chain:
    return nn.chain(sum=nn.branch(nn.add, body=body, skip=skip), act=nn.relu)


def _plain_body(features: int, *, stride: int) -> nn.Chain:
    return nn.chain(
        conv1=_conv(features, 3, stride=stride),
        norm1=nn.BatchNorm(),
        act1=nn.relu,
        conv2=_conv(features, 3),
        norm2=nn.BatchNorm(),
    )


def _bottleneck_body(features: int, *, stride: int) -> nn.Chain:
    return nn.chain(
        conv1=_conv(features, 1),
        norm1=nn.BatchNorm(),
        act1=nn.relu,
        conv2=_conv(features, 3, stride=stride),
        norm2=nn.BatchNorm(),
        act2=nn.relu,
        conv3=_conv(4 * features, 1),
        norm3=nn.BatchNorm(),
    )


def _conv(features: int, kernel: int, *, stride: int = 1) -> nn.Conv:
    """A convolution that keeps the size but for its stride; the norm after it has the bias."""
    return nn.Conv(
        features,
        kernel,
        stride=stride,
        padding=kernel // 2,
        rounding="floor",  # even sizes leave a last row and column out
        bias=False,
        kernel_init=initializers.he_normal,
    )
