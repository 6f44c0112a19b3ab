"""A small network of our own for 28x28 digits, made of parts that others found."""

from __future__ import annotations

from jaxcnn import initializers, nn
from jaxcnn.layer import Layer

_CONVS = ((16, 0), (16, 0), (32, 0), (64, 0), (128, 1), (192, 0))  # features, padding
_POOLED = (2, 4)  # the convolutions with a pooling behind


def small_cnn(classes: int = 10, *, rate: float = 0.2) -> nn.Chain:
    """Six 3x3 convolutions with batch normalization for MNIST: 323,226 parameters.

    Maps on a 28x28x1 image: 26x26x16, 24x24x16, pooled 12x12; 10x10x32, 8x8x64, pooled 4x4;
    4x4x128, 2x2x192; the mean of these last four cells, dropout, one dense layer. 5,131,200
    multiply-adds an image, 12 times LeNet-5's.

    Args:
      classes: number of outputs.
      rate: fraction dropped before the last layer.

    It is meant to be trained with slightly turned and moved digits, for which its pooling and
    its mean over space leave room, and within minutes on a CPU: most channels are where the
    maps are small, and nothing but the fifth convolution pads, since digits have a margin.

    >>> import jaxcnn
    >>> table = jaxcnn.ledger(small_cnn(), (28, 28, 1))
    >>> table.params, table.macs
    (323226, 5131200)

    Source: none; the sizes are ours. Stacks of 3x3 convolutions: Simonyan and Zisserman 2015.
    Batch normalization: Ioffe and Szegedy 2015. Mean instead of dense layers: Lin, Chen and Yan
    2014. That plain nets of such convolutions suffice for MNIST: An et al. 2020, "An ensemble of
    simple convolutional neural network models for MNIST digit recognition".
    """
    layers: dict[str, Layer] = {}
    for number, (features, padding) in enumerate(_CONVS, start=1):
        layers |= {
            f"conv{number}": nn.Conv(
                features,
                3,
                padding=padding,
                bias=False,  # the norm after it has one
                kernel_init=initializers.he_normal,
            ),
            f"norm{number}": nn.BatchNorm(),
            f"act{number}": nn.relu,
        }
        if number in _POOLED:
            layers[f"pool{number}"] = nn.MaxPool(2)
    return nn.chain(
        **layers, mean=nn.GlobalAvgPool(), drop=nn.Dropout(rate), logits=nn.Dense(classes)
    )
