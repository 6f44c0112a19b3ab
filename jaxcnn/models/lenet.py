"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998), the network of all five decks."""

from __future__ import annotations

from typing import Literal

from jaxcnn import nn
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer

Variant = Literal["modern", "1998"]


def lenet5(
    *,
    variant: Variant = "modern",
    classes: int = 10,
    padding: int = 2,
    trainable_subsampling: bool = False,
) -> nn.Chain:
    """LeNet-5: two convolutions of 5x5 with pooling, then 120, 84 and `classes` units.

    Layer by layer on a 28x28x1 image: conv1 28x28x6 (the image padded to 32x32), pool1
    14x14x6, conv2 10x10x16, pool2 5x5x16, dense1 120, dense2 84, logits 10. With 10
    classes and grey images it has 61,706 parameters (deck A) and 416,520 multiply-adds
    an image.

    Args:
      variant: "modern" has ReLU and max pooling; "1998" has tanh and average pooling.
      classes: number of outputs.
      padding: zeros around the image before conv1: 2 for 28x28 images, 0 for 32x32.
      trainable_subsampling: only with "1998": pool by the paper's sub-sampling (window sum
        times a trainable coefficient plus a bias) and squash it, 61,750 parameters.

    Both variants follow the deck's count, not every detail of the paper: conv2 sees all six
    maps (the paper: a sparse table), the paper's C5 is a dense layer (the same map, since its
    5x5 window covers its whole input), the output is a dense layer (the paper: radial basis
    functions), and tanh is not scaled (the paper: 1.7159 tanh(2x/3)).

    >>> import jaxcnn
    >>> table = jaxcnn.ledger(lenet5(), (28, 28, 1))
    >>> table.params, table.macs
    (61706, 416520)
    """
    if variant not in ("modern", "1998"):
        raise ConfigError(f"variant={variant!r} is not allowed: use 'modern' or '1998'.")
    if trainable_subsampling and variant != "1998":
        raise ConfigError("trainable_subsampling=True needs variant='1998'.")
    act: Layer
    pool: Layer
    if variant == "modern":
        act, pool = nn.relu, nn.MaxPool(2)
    elif trainable_subsampling:
        act, pool = nn.tanh, nn.chain(subsample=nn.Subsample(2), act=nn.tanh)
    else:
        act, pool = nn.tanh, nn.AvgPool(2)
    return nn.chain(
        conv1=nn.Conv(6, 5, padding=padding),
        act1=act,
        pool1=pool,
        conv2=nn.Conv(16, 5),
        act2=act,
        pool2=pool,
        flatten=nn.Flatten(),
        dense1=nn.Dense(120),
        act3=act,
        dense2=nn.Dense(84),
        act4=act,
        logits=nn.Dense(classes),
    )
