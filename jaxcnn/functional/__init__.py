"""Operations: arrays in, arrays out, no trees and no layers.

Images are [N, H, W, C] (one or three spatial axes work alike), kernels [h, w, in, out].

A network needs nothing else: `F.dense(F.flatten(F.relu(F.conv2d(x, p["c"]))), p["d"])`.
"""

from jaxcnn.functional.activation import (
    elu,
    gelu,
    leaky_relu,
    parametric_relu,
    ramp,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from jaxcnn.functional.conv import conv, conv2d
from jaxcnn.functional.linear import dense, flatten
from jaxcnn.functional.noise import dropout
from jaxcnn.functional.norm import moments, normalize
from jaxcnn.functional.pool import avg_pool, max_pool, sum_pool
from jaxcnn.functional.window import output_size

__all__ = [
    "avg_pool",
    "conv",
    "conv2d",
    "dense",
    "dropout",
    "elu",
    "flatten",
    "gelu",
    "leaky_relu",
    "max_pool",
    "moments",
    "normalize",
    "output_size",
    "parametric_relu",
    "ramp",
    "relu",
    "sigmoid",
    "softmax",
    "sum_pool",
    "tanh",
]
