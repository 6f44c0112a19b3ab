"""AlexNet (Krizhevsky, Sutskever and Hinton 2012), in one stream as deck E counts it."""

from __future__ import annotations

from jaxcnn import nn


def alexnet(*, classes: int = 1000, rate: float = 0.5) -> nn.Chain:
    """AlexNet for 227x227 images: maps 55, 27, 27, 13, 13, 13, 13, 6; 62,378,344 parameters.

    Local response normalization after the first two convolutions, overlapping 3x3 pooling
    with stride 2, dropout before the first two dense layers.

    Args:
      classes: number of outputs.
      rate: fraction dropped.

    The paper trains two streams on two GPUs, whose second, fourth and fifth convolutions see
    only their own half of the channels (60,965,224 parameters). The paper says 224x224; with an
    11x11 kernel and stride 4 only 227 fits.

    >>> import jaxcnn
    >>> jaxcnn.ledger(alexnet(), (227, 227, 3)).params
    62378344

    Source: deck E.
    """
    return nn.chain(
        conv1=nn.Conv(96, 11, stride=4),
        act1=nn.relu,
        norm1=nn.LocalResponseNorm(),
        pool1=nn.MaxPool(3, stride=2),
        conv2=nn.Conv(256, 5, padding=2),
        act2=nn.relu,
        norm2=nn.LocalResponseNorm(),
        pool2=nn.MaxPool(3, stride=2),
        conv3=nn.Conv(384, 3, padding=1),
        act3=nn.relu,
        conv4=nn.Conv(384, 3, padding=1),
        act4=nn.relu,
        conv5=nn.Conv(256, 3, padding=1),
        act5=nn.relu,
        pool5=nn.MaxPool(3, stride=2),
        flatten=nn.Flatten(),
        drop6=nn.Dropout(rate),
        dense6=nn.Dense(4096),
        act6=nn.relu,
        drop7=nn.Dropout(rate),
        dense7=nn.Dense(4096),
        act7=nn.relu,
        logits=nn.Dense(classes),
    )
