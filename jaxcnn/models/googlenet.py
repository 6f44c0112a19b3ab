"""GoogLeNet (Szegedy et al. 2015): convolutions of several sizes side by side."""

from __future__ import annotations

from jaxcnn import initializers, nn
from jaxcnn.layer import Layer

# Table 1 of the paper: "#1x1", "#3x3 reduce", "#3x3", "#5x5 reduce", "#5x5", "pool proj".
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet(*, classes: int = 1000, rate: float = 0.4) -> nn.Chain:
    """GoogLeNet for 224x224 images: maps 112, 56, 28, 14, 7; 6,998,552 parameters.

    Inception v1: nine modules, in each of which convolutions of 1x1, 3x3 and 5x5 and a max
    pooling see the same input and are joined along the channels. 1x1 convolutions before the
    larger ones, and after the pooling, keep that cheap: 1,582,671,872 multiply-adds an image.

    Args:
      classes: number of outputs.
      rate: fraction dropped before the last layer.

    **Without the two auxiliary classifiers**, which the paper hangs on 4a and 4d while training
    and throws away afterwards. Every window is padded so that stride s makes the size I to
    ceil(I / s). The paper gives no constants of the local response normalization; AlexNet's
    are used.

    Where the counts differ: the first layer is the plain 7x7 convolution that the paper draws,
    9,472 parameters; the 2.7 K of its table would fit a separable one (depthwise with 8 outputs
    of each colour, then 1x1: 1,176 + 1,536). torchvision's has 6,624,904: batch normalization
    instead of biases, and 3x3 kernels where the paper has 5x5.

    >>> import jaxcnn
    >>> jaxcnn.ledger(googlenet(), (224, 224, 3)).params
    6998552

    Source: Szegedy et al. 2015, "Going deeper with convolutions", table 1 and figure 3; deck E,
    "revolution of depth".
    """
    layers: dict[str, Layer] = {
        "conv1": _conv(64, 7, stride=2),
        "act1": nn.relu,
        "pool1": _halve(),
        "norm1": nn.LocalResponseNorm(),
        "reduce2": _conv(64, 1),
        "act_reduce2": nn.relu,
        "conv2": _conv(192, 3),
        "act2": nn.relu,
        "norm2": nn.LocalResponseNorm(),
        "pool2": _halve(),
    }
    for name, widths in _INCEPTIONS.items():
        layers[f"inception{name}"] = _inception(*widths)
        if name in ("3b", "4e"):
            layers[f"pool{name[0]}"] = _halve()
    return nn.chain(
        **layers, mean=nn.GlobalAvgPool(), drop=nn.Dropout(rate), logits=nn.Dense(classes)
    )


def _inception(
    one: int, reduce_three: int, three: int, reduce_five: int, five: int, project: int
) -> nn.Branch:
    return nn.branch(
        nn.concat,
        one=nn.chain(conv=_conv(one, 1), act=nn.relu),
        three=_reduced(reduce_three, three, 3),
        five=_reduced(reduce_five, five, 5),
        pool=nn.chain(
            pool=nn.MaxPool(3, stride=1, padding="SAME"), project=_conv(project, 1), act=nn.relu
        ),
    )


def _reduced(reduce: int, features: int, kernel: int) -> nn.Chain:
    return nn.chain(
        reduce=_conv(reduce, 1), act_reduce=nn.relu, conv=_conv(features, kernel), act=nn.relu
    )


def _conv(features: int, kernel: int, *, stride: int = 1) -> nn.Conv:
    # He's initialization: the paper does not tell its own.
    return nn.Conv(
        features, kernel, stride=stride, padding="SAME", kernel_init=initializers.he_normal
    )


def _halve() -> nn.MaxPool:
    return nn.MaxPool(3, stride=2, padding="SAME")
