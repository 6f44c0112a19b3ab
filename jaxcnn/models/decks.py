"""The small networks that the decks build as examples. All have ReLU and 2x2 max pooling."""

from __future__ import annotations

from jaxcnn import nn
from jaxcnn.functional.window import Padding
from jaxcnn.layer import Layer


def deck_b_net(classes: int = 10) -> nn.Chain:
    """Deck B's small net for 32x32 images: 81,194 parameters on grey ones.

    conv1 30x30x6, pool1 15x15x6, conv2 13x13x16, pool2 6x6x16 (the last row and column are
    left out, as the deck's count says), then 120, 84 and `classes` units.

    >>> import jaxcnn
    >>> jaxcnn.ledger(deck_b_net(), (32, 32, 1)).params
    81194
    """
    return nn.chain(
        conv1=nn.Conv(6, 3),
        act1=nn.relu,
        pool1=nn.MaxPool(2),
        conv2=nn.Conv(16, 3),
        act2=nn.relu,
        pool2=nn.MaxPool(2, rounding="floor"),
        flatten=nn.Flatten(),
        dense1=nn.Dense(120),
        act3=nn.relu,
        dense2=nn.Dense(84),
        act4=nn.relu,
        logits=nn.Dense(classes),
    )


def deck_c_net(*, hidden: int = 1024, classes: int = 10) -> nn.Chain:
    """Deck C's net for MNIST (examples 3 and 4): maps 28x28x32, 14x14x32, 14x14x64, 7x7x64.

    The deck shows 5x5 kernels and these maps; the width of the dense layer it leaves to a
    notebook, so `hidden` is ours.
    """
    return nn.chain(
        **_two_stages(32, 64, padding="SAME"),
        dense1=nn.Dense(hidden),
        act3=nn.relu,
        logits=nn.Dense(classes),
    )


def deck_d_net(classes: int = 10) -> nn.Chain:
    """Deck D's net for MNIST and CIFAR-10: 16 and 32 maps of 5x5 kernels, one dense layer.

    The deck shows no padding; 2 zeros keep the size before each pooling, so that the dense
    layer sees 7x7x32 on MNIST (28,938 parameters in all) and 8x8x32 on CIFAR-10 (34,538).

    >>> import jaxcnn
    >>> [jaxcnn.ledger(deck_d_net(), shape).params for shape in ((28, 28, 1), (32, 32, 3))]
    [28938, 34538]
    """
    return nn.chain(**_two_stages(16, 32, padding=2), logits=nn.Dense(classes))


def _two_stages(first: int, second: int, *, padding: Padding) -> dict[str, Layer]:
    return {
        "conv1": nn.Conv(first, 5, padding=padding),
        "act1": nn.relu,
        "pool1": nn.MaxPool(2),
        "conv2": nn.Conv(second, 5, padding=padding),
        "act2": nn.relu,
        "pool2": nn.MaxPool(2),
        "flatten": nn.Flatten(),
    }
