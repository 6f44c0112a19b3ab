"""VGG networks (Simonyan and Zisserman 2015): 3x3 convolutions only, deeper and deeper."""

from __future__ import annotations

from jaxcnn import initializers, nn
from jaxcnn.layer import Layer

_STAGES = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # convolutions of each stage
_FEATURES = (64, 128, 256, 512, 512)


def vgg11(*, classes: int = 1000, rate: float = 0.5) -> nn.Chain:
    """VGG-11 (configuration A) for 224x224 images: 132,863,336 parameters."""
    return _vgg(11, classes, rate)


def vgg16(*, classes: int = 1000, rate: float = 0.5) -> nn.Chain:
    """VGG-16 (configuration D) for 224x224 images: 138,357,544 parameters.

    >>> import jaxcnn
    >>> jaxcnn.ledger(vgg16(), (224, 224, 3)).params
    138357544
    """
    return _vgg(16, classes, rate)


def _vgg(depth: int, classes: int, rate: float) -> nn.Chain:
    layers: dict[str, Layer] = {}
    for stage, (count, features) in enumerate(zip(_STAGES[depth], _FEATURES, strict=True), 1):
        for number in range(1, count + 1):
            # He's initialization: the paper had to start deep nets from trained shallow ones.
            conv = nn.Conv(features, 3, padding=1, kernel_init=initializers.he_normal)
            layers |= {f"conv{stage}_{number}": conv, f"act{stage}_{number}": nn.relu}
        layers[f"pool{stage}"] = nn.MaxPool(2)
    return nn.chain(
        **layers,
        flatten=nn.Flatten(),
        dense6=nn.Dense(4096),
        act6=nn.relu,
        drop6=nn.Dropout(rate),
        dense7=nn.Dense(4096),
        act7=nn.relu,
        drop7=nn.Dropout(rate),
        logits=nn.Dense(classes),
    )
