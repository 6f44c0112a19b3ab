"""Operations: arrays in, arrays out, no trees and no layers.

Images are [N, H, W, C] (one or three spatial axes work alike), kernels [h, w, in, out].

- convolution: `conv`, `conv1d`, `conv2d`, `conv3d`; by its mathematical names
  `cross_correlation` (the same) and `true_conv` (kernel flipped); `conv_transpose`
- its light forms: `pointwise_conv`, `depthwise_conv`, `separable_conv`
- windows and padding: `pad`, `patches`, `output_size`
- convolution seen otherwise: `toeplitz` (as a matrix), `locally_connected` (unshared)
- dense: `dense`, `maxout`, `flatten`
- pooling: `max_pool`, `avg_pool`, `sum_pool`, `global_avg_pool`, `global_max_pool`,
  `channel_pool`
- fused: `conv_relu_pool`, `conv_act_pool`; how operations are computed: `lowering`
- normalization: `moments`, `normalize`, `layer_norm`, `group_norm`, `local_response_norm`
- attention: `patch_embedding`, `attention`, `attention_weights`
- non-linearities: `relu`, `tanh`, `sigmoid`, `gelu`, `softmax`
- noise: `dropout`, `spatial_dropout`
- hand-made kernels: the module `filters`

A network needs nothing else: `F.dense(F.flatten(F.relu(F.conv2d(x, p["c"]))), p["d"])`.
"""

from jaxcnn.functional import filters
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
from jaxcnn.functional.attention import attention, attention_weights, patch_embedding
from jaxcnn.functional.conv import conv, conv1d, conv2d, conv3d, cross_correlation, true_conv
from jaxcnn.functional.fused import conv_act_pool, conv_relu_pool
from jaxcnn.functional.linear import dense, flatten, maxout
from jaxcnn.functional.local import locally_connected, patches
from jaxcnn.functional.lowering.choice import lowering
from jaxcnn.functional.noise import dropout, spatial_dropout
from jaxcnn.functional.norm import (
    group_norm,
    layer_norm,
    local_response_norm,
    moments,
    normalize,
)
from jaxcnn.functional.padding import pad
from jaxcnn.functional.pool import (
    avg_pool,
    channel_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
    sum_pool,
)
from jaxcnn.functional.separable import depthwise_conv, pointwise_conv, separable_conv
from jaxcnn.functional.toeplitz import toeplitz
from jaxcnn.functional.transpose import conv_transpose
from jaxcnn.functional.window import output_size

__all__ = [
    "attention",
    "attention_weights",
    "avg_pool",
    "channel_pool",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_act_pool",
    "conv_relu_pool",
    "conv_transpose",
    "cross_correlation",
    "dense",
    "depthwise_conv",
    "dropout",
    "elu",
    "filters",
    "flatten",
    "gelu",
    "global_avg_pool",
    "global_max_pool",
    "group_norm",
    "layer_norm",
    "leaky_relu",
    "local_response_norm",
    "locally_connected",
    "lowering",
    "max_pool",
    "maxout",
    "moments",
    "normalize",
    "output_size",
    "pad",
    "parametric_relu",
    "patch_embedding",
    "patches",
    "pointwise_conv",
    "ramp",
    "relu",
    "separable_conv",
    "sigmoid",
    "softmax",
    "spatial_dropout",
    "sum_pool",
    "tanh",
    "toeplitz",
    "true_conv",
]
