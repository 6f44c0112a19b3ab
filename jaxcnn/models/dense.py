"""Networks without convolutions: logistic regression and multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence

from jaxcnn import nn
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer


def logistic_regression(classes: int = 10) -> nn.Chain:
    """One dense layer on the pixels: 7,850 parameters for 28x28 images and 10 classes (deck A).

    With `classes=1` it is binary: train it with `losses.binary_cross_entropy`.

    >>> import jaxcnn
    >>> jaxcnn.ledger(logistic_regression(), (28, 28, 1)).params
    7850
    """
    return nn.chain(flatten=nn.Flatten(), logits=nn.Dense(classes))


def mlp(hidden: Sequence[int] = (512, 512), outputs: int = 10, act: Layer = nn.relu) -> nn.Chain:
    """Dense layers with `act` between them: hidden1, act1, hidden2, ..., logits.

    `outputs` classes with `losses.softmax_cross_entropy`; one output for two classes with
    `losses.binary_cross_entropy`, or for a number with `losses.square`.

    Raises:
      ConfigError: there is no hidden layer; that is `logistic_regression`.

    >>> import jaxcnn
    >>> jaxcnn.ledger(mlp((100,)), (28, 28, 1)).params
    79510
    """
    if not hidden:
        raise ConfigError("hidden=() is not allowed: use `logistic_regression`.")
    layers: dict[str, Layer] = {"flatten": nn.Flatten()}
    for number, width in enumerate(hidden, start=1):
        layers |= {f"hidden{number}": nn.Dense(width), f"act{number}": act}
    return nn.chain(**layers, logits=nn.Dense(outputs))
