"""One catalogue of all layers and models: a new entry gets every law by one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from flax import linen

from jaxcnn import losses, models, nn
from jaxcnn.interop.flax import from_linen
from jaxcnn.layer import Layer
from jaxcnn.typing import Array
from tests.conftest import nnx_works


@dataclasses.dataclass(frozen=True)
class Entry:
    """A layer and the shape of an input it takes."""

    name: str
    layer: Layer
    shape: tuple[int, ...]  # without the batch axis
    random: bool = False  # needs a key while training
    small: bool = True  # small enough for numerical gradients
    slow: bool = False  # only in the slow suite


def residual(features: int) -> Layer:
    return nn.branch(
        nn.add,
        body=nn.chain(
            conv=nn.Conv(features, 3, padding=1, bias=False), norm=nn.BatchNorm(), act=nn.relu
        ),
        skip=nn.identity,
    )


class LinenBlock(linen.Module):
    """A block as linen users write it."""

    features: int
    rate: float = 0.3

    @linen.compact
    def __call__(self, x, train):
        x = linen.Conv(self.features, (3, 3), use_bias=False)(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return linen.Dropout(self.rate, deterministic=not train)(linen.relu(x))


CATALOG = [
    Entry("conv", nn.Conv(3, 3), (6, 5, 2)),
    Entry("conv_same", nn.Conv(3, 3, stride=2, padding="SAME"), (6, 5, 2)),
    Entry("conv_groups", nn.Conv(4, 3, groups=2, padding=((1, 0), (0, 1))), (5, 5, 4), slow=True),
    Entry("conv_dilated", nn.Conv(2, 3, dilation=2, bias=False), (7, 6, 1), slow=True),
    Entry("conv_1d", nn.Conv(2, 3), (7, 3)),
    Entry("conv_3d", nn.Conv(2, 2), (3, 4, 3, 2)),
    Entry("conv_reflect", nn.Conv(2, 3, padding=1, padding_mode="reflect"), (4, 5, 2), slow=True),
    Entry("conv_edge", nn.Conv(2, 3, padding="SAME", padding_mode="edge"), (4, 5, 2), slow=True),
    Entry("depthwise_conv", nn.DepthwiseConv(3, 2, padding=1), (4, 5, 2)),
    Entry("separable_conv", nn.separable_conv(3, padding="SAME"), (4, 5, 2)),
    Entry("conv_transpose", nn.ConvTranspose(2, 3), (3, 4, 2)),
    Entry("conv_transpose_stride", nn.ConvTranspose(2, 3, stride=2, padding=1), (3, 4, 2)),
    Entry(
        "conv_transpose_same", nn.ConvTranspose(2, 3, stride=2, padding="SAME"), (5, 2), slow=True
    ),
    Entry("locally_connected", nn.LocallyConnected(2, 3, stride=2), (5, 5, 2)),
    Entry(
        "locally_connected_1d",
        nn.LocallyConnected(2, 2, padding="SAME", bias=False),
        (4, 3),
        slow=True,
    ),
    Entry("dense", nn.Dense(4), (5,)),
    Entry("dense_no_bias", nn.Dense(4, bias=False), (5,), slow=True),
    Entry("maxout", nn.Maxout(3, 2), (5,)),
    Entry("max_pool", nn.MaxPool(2), (4, 6, 2)),
    Entry("max_pool_overlapping", nn.MaxPool(3, stride=2), (7, 5, 2), slow=True),
    Entry("avg_pool", nn.AvgPool(2, padding="SAME"), (5, 5, 2)),
    Entry("global_avg_pool", nn.GlobalAvgPool(), (3, 4, 2)),
    Entry("global_max_pool", nn.GlobalMaxPool(), (3, 4, 2)),
    Entry("channel_pool", nn.ChannelPool(2), (3, 2, 4)),
    Entry("subsample", nn.Subsample(2), (4, 4, 3)),
    Entry("batch_norm", nn.BatchNorm(decay=0.7), (3, 4, 2)),
    Entry("layer_norm", nn.LayerNorm(), (3, 4)),
    Entry("group_norm", nn.GroupNorm(2), (3, 2, 4)),
    Entry("local_response_norm", nn.LocalResponseNorm(3, k=1.0, alpha=0.5), (3, 2, 5)),
    Entry("dropout", nn.Dropout(0.4), (6,), random=True),
    Entry("spatial_dropout", nn.SpatialDropout(0.4), (3, 2, 6), random=True),
    Entry("flatten", nn.Flatten(), (2, 3, 2)),
    Entry("relu", nn.relu, (5,)),
    Entry("tanh", nn.tanh, (5,)),
    Entry("sigmoid", nn.sigmoid, (5,)),
    Entry("gelu", nn.gelu, (5,)),
    Entry("ramp", nn.ramp, (5,)),
    Entry("leaky_relu", nn.LeakyRelu(), (5,)),
    Entry("leaky_relu_of_decks_b_and_c", nn.LeakyRelu(0.1), (5,), slow=True),
    Entry("parametric_relu", nn.ParametricRelu(), (3, 4, 2)),
    Entry("elu", nn.Elu(), (5,)),
    Entry("elu_alpha", nn.Elu(alpha=0.5), (5,), slow=True),
    Entry("softmax", nn.softmax, (5,)),
    Entry("identity", nn.identity, (5,)),
    Entry("patch_embedding", nn.PatchEmbedding(3, 2), (4, 6, 2)),
    Entry("class_token", nn.ClassToken(), (3, 4)),
    Entry("position_embedding", nn.PositionEmbedding(), (3, 4)),
    Entry("first_token", nn.first_token, (3, 4)),
    Entry("multi_head_attention", nn.MultiHeadAttention(2), (3, 4)),
    Entry("gelu_mlp", nn.gelu_mlp(4, 6), (3, 4), slow=True),
    Entry(
        "encoder_block",
        nn.encoder_block(4, heads=2, hidden=6, rate=0.2),
        (3, 4),
        random=True,
        slow=True,
    ),
    Entry("chain", nn.chain(a=nn.Conv(2, 3), b=nn.tanh, c=nn.Flatten(), d=nn.Dense(3)), (5, 5, 1)),
    Entry("residual", residual(2), (4, 4, 2)),
    Entry("concat", nn.branch(nn.concat, one=nn.Conv(2, 1), two=nn.AvgPool(1)), (3, 3, 2)),
    Entry(
        "regularized",
        nn.chain(norm=nn.BatchNorm(), drop=nn.Dropout(0.3), inner=nn.chain(fc=nn.Dense(2))),
        (4,),
        random=True,
    ),
    Entry("linen_dense", from_linen(linen.Dense(3)), (4,)),
    Entry(
        "linen_norm",
        from_linen(linen.BatchNorm(momentum=0.9), eval_flag="use_running_average"),
        (4,),
    ),
    Entry(
        "linen_block",
        from_linen(LinenBlock(2), train_flag="train", streams=("dropout",)),
        (4, 4, 2),
        random=True,
    ),
    Entry("logistic_regression", models.logistic_regression(3), (4, 4, 1)),
    Entry("mlp", models.mlp((6, 5), outputs=3, act=nn.tanh), (4,)),
    Entry("deck_b_net", models.deck_b_net(), (32, 32, 1), small=False, slow=True),
    Entry("deck_c_net", models.deck_c_net(hidden=32), (28, 28, 1), small=False, slow=True),
    Entry("deck_d_net", models.deck_d_net(), (32, 32, 3), small=False, slow=True),
    Entry("resnet20", models.resnet20(), (32, 32, 3), small=False, slow=True),
    Entry("resnet9", models.resnet9(), (8, 8, 3), small=False, slow=True),
    Entry("small_cnn", models.small_cnn(), (28, 28, 1), random=True, small=False, slow=True),
    Entry(
        "mobilenet", models.mobilenet(classes=5, width=0.25), (32, 32, 3), small=False, slow=True
    ),
    Entry("lenet5_modern", models.lenet5(), (28, 28, 1), small=False),
    Entry("lenet5_1998", models.lenet5(variant="1998"), (28, 28, 1), small=False, slow=True),
    Entry(
        "lenet5_1998_trainable",
        models.lenet5(variant="1998", trainable_subsampling=True),
        (28, 28, 1),
        small=False,
        slow=True,
    ),
]

if nnx_works():
    from tests.nnx_modules import BLOCK, LINEAR

    CATALOG += [
        Entry("nnx_linear", LINEAR, (4,)),
        Entry("nnx_block", BLOCK, (4, 4, 2), random=True, slow=True),
    ]


@dataclasses.dataclass(frozen=True)
class LossEntry:
    """A loss, the shape of one example's outputs, and its labels for four examples."""

    name: str
    loss: Callable[..., Array]
    outputs: tuple[int, ...]
    labels: tuple[object, ...]


LOSSES = [
    LossEntry("softmax_cross_entropy", losses.softmax_cross_entropy, (3,), (0, 2, 1, 1)),
    LossEntry(
        "softmax_cross_entropy_smoothed",
        partial(losses.softmax_cross_entropy, label_smoothing=0.1),
        (3,),
        (0, 2, 1, 1),
    ),
    LossEntry(
        "softmax_cross_entropy_soft",
        losses.softmax_cross_entropy,
        (2,),
        ((0.25, 0.75), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0)),
    ),
    LossEntry(
        "kl_divergence",
        losses.kl_divergence,
        (2,),
        ((0.25, 0.75), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0)),
    ),
    LossEntry("max_margin", losses.max_margin, (3,), (0, 2, 1, 1)),
    LossEntry("binary_cross_entropy", losses.binary_cross_entropy, (), (0.0, 1.0, 0.25, 1.0)),
    LossEntry("logistic", losses.logistic, (), (-1.0, 1.0, 1.0, -1.0)),
    LossEntry("hinge", losses.hinge, (1,), (-1.0, 1.0, 1.0, -1.0)),
    LossEntry("square", losses.square, (2,), ((0.0, 1.0), (2.0, 3.0), (-1.0, 0.5), (0.0, 0.0))),
]
