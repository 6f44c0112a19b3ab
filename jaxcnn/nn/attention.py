"""Layers of the vision transformer: images to tokens, and tokens that look at each other.

A transformer of two blocks, `T` tokens of 8 channels from patches of 4x4:

>>> from jaxcnn import nn
>>> import jaxcnn
>>> model = nn.chain(
...     embed=nn.PatchEmbedding(8, 4), cls=nn.ClassToken(), position=nn.PositionEmbedding(),
...     block1=nn.encoder_block(8, heads=2, hidden=16),
...     block2=nn.encoder_block(8, heads=2, hidden=16),
...     norm=nn.LayerNorm(), take=nn.first_token, logits=nn.Dense(10),
... )
>>> jaxcnn.ledger(model, (8, 8, 3)).rows[-1].output
(10,)

Source: deck B, "vision transformers"; Dosovitskiy et al. 2020.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxcnn import functional as F
from jaxcnn import initializers
from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.window import Size, per_axis
from jaxcnn.initializers import Initializer
from jaxcnn.layer import Context, Layer, concise_repr, subkey
from jaxcnn.nn.combine import Chain, add, branch, chain
from jaxcnn.nn.linear import Dense
from jaxcnn.nn.norm import LayerNorm
from jaxcnn.nn.pointwise import Dropout, Pointwise, gelu, identity
from jaxcnn.typing import Array, Key, Params, Spec, State, describe


@dataclasses.dataclass(frozen=True)
class PatchEmbedding:
    """Cuts images into patches and maps each to a token; see `functional.patch_embedding`.

    Attributes:
      features: channels of a token.
      patch: cells of a patch along each axis; patches must tile the image.
      kernel_init, bias_init: initial values.

    Parameters: `kernel` [*patch, C, features], `bias` [features].
    """

    features: int
    patch: Size
    _: dataclasses.KW_ONLY
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.features, "features")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        patch = per_axis(self.patch, check.images(x), "patch")
        kernel = self.kernel_init(key, (*patch, x.shape[-1], self.features))
        return {"kernel": kernel, "bias": self.bias_init(key, (self.features,))}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        kernel, bias = (params[name].astype(x.dtype) for name in ("kernel", "bias"))
        return F.patch_embedding(x, kernel, bias), state


@dataclasses.dataclass(frozen=True)
class ClassToken:
    """Puts a learned token in front of the others; the classifier reads what becomes of it.

    [N, T, C] to [N, 1 + T, C]. Parameters: `cls` [1, 1, C], zero at first.
    """

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del key  # nothing random
        check.images(x, spatial=1)
        return {"cls": jnp.zeros((1, 1, x.shape[-1]), jnp.float32)}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        token = jnp.broadcast_to(params["cls"].astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
        return jnp.concatenate([token, x], axis=1), state


@dataclasses.dataclass(frozen=True)
class PositionEmbedding:
    """Adds to each token a learned vector that tells its place.

    Attributes:
      position_init: initial values.

    Parameters: `pos_embedding` [1, T, C]. Without it attention could not tell one order of
    the patches from another.
    """

    position_init: Initializer = initializers.Normal(0.02)
    __repr__ = concise_repr

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        check.images(x, spatial=1)
        return {"pos_embedding": self.position_init(key, (1, *x.shape[1:]))}, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        position = params["pos_embedding"]
        if position.shape[1:] != x.shape[1:]:
            raise ShapeError(
                f"got tokens {describe(x)}, but positions {describe(position)} were learned.\n"
                "Apply the network to images of the size that it was initialised with."
            )
        return x + position.astype(x.dtype), state


@dataclasses.dataclass(frozen=True)
class MultiHeadAttention:
    """Self-attention: every token gathers from all tokens, in several ways side by side.

    `y = out(concat_h attention(query_h(x), key_h(x), value_h(x)))`; see `functional.attention`.

    Attributes:
      heads: ways of looking; must divide the channels C. Each has `d = C / heads` channels.
      kernel_init, bias_init: initial values.

    Parameters, as in `flax.linen.MultiHeadDotProductAttention`: `query`, `key`, `value`, each
    `kernel` [C, heads, d] and `bias` [heads, d]; `out`, `kernel` [heads, d, C] and `bias` [C].

    Source: Vaswani et al. 2017.
    """

    heads: int
    _: dataclasses.KW_ONLY
    kernel_init: Initializer = initializers.lecun_normal
    bias_init: Initializer = initializers.zeros
    __repr__ = concise_repr

    def __post_init__(self) -> None:
        check.positive(self.heads, "heads")
        initializers.check_kernel(self.kernel_init)

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        check.images(x, spatial=1)
        channels = x.shape[-1]
        if channels % self.heads:
            raise ShapeError(
                f"got {describe(x)}: {self.heads} heads do not divide the {channels} channels."
            )
        inner = (self.heads, channels // self.heads)
        into = ((channels, *inner), inner)  # shapes of kernel and bias
        out = ((*inner, channels), (channels,))
        params: Params = {}
        for name, (kernel, bias) in (
            ("query", into), ("key", into), ("value", into), ("out", out)
        ):  # fmt: skip
            own = subkey(key, name)
            # Drawn as the matrix that it is, so that the initializer sees the right fan-in.
            matrix = self.kernel_init(own, (channels, channels))
            params[name] = {"kernel": matrix.reshape(kernel), "bias": self.bias_init(own, bias)}
        return params, {}

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        del ctx  # the same while training
        params = jax.tree.map(lambda leaf: leaf.astype(x.dtype), params)
        query, key, value = (
            jnp.einsum("ntc,chd->nthd", x, params[name]["kernel"])
            + params[name]["bias"][None, None]
            for name in ("query", "key", "value")
        )
        y = F.attention(query, key, value)  # [N, T, heads, d]
        out = params["out"]
        return jnp.einsum("nthd,hdc->ntc", y, out["kernel"]) + out["bias"][None, None], state


def gelu_mlp(features: int, hidden: int, *, rate: float = 0.0) -> Chain:
    """Two dense layers with GELU in between and, if `rate` is not 0, dropout after each.

    >>> gelu_mlp(8, 32)
    chain(dense1=Dense(features=32), act=gelu, dense2=Dense(features=8))
    """
    layers: dict[str, Layer] = {"dense1": Dense(hidden), "act": gelu, "drop1": Dropout(rate)}
    layers |= {"dense2": Dense(features), "drop2": Dropout(rate)}
    return chain(**_without_idle(layers, rate))


def encoder_block(features: int, *, heads: int, hidden: int, rate: float = 0.0) -> Chain:
    """A block of the transformer's encoder: attention, then an MLP, each beside a skip path.

    `x <- x + attention(norm(x))`, then `x <- x + mlp(norm(x))`.

    Args:
      features: channels of a token, of the input as of the output.
      heads: of the attention.
      hidden: units between the two dense layers of the MLP, usually `4 * features`.
      rate: fraction dropped after the attention and after each dense layer.

    Normalization comes first in each path ("pre-norm"), as in the vision transformer; in
    Vaswani et al. it comes after each sum.

    >>> import jaxcnn
    >>> jaxcnn.ledger(encoder_block(192, heads=3, hidden=768), (197, 192)).params
    444864

    Source: deck B, "vision transformers"; Dosovitskiy et al. 2020, equations 2 and 3. The
    figure is that of one of the twelve blocks of ViT-Ti.
    """
    attend: dict[str, Layer] = {
        "norm": LayerNorm(), "attention": MultiHeadAttention(heads), "drop": Dropout(rate)
    }  # fmt: skip
    return chain(
        attend=branch(add, body=chain(**_without_idle(attend, rate)), skip=identity),
        think=branch(
            add,
            body=chain(norm=LayerNorm(), mlp=gelu_mlp(features, hidden, rate=rate)),
            skip=identity,
        ),
    )


def _without_idle(layers: dict[str, Layer], rate: float) -> dict[str, Layer]:
    """Leaves out dropout that drops nothing."""
    return {name: layer for name, layer in layers.items() if rate or not isinstance(layer, Dropout)}


def _first(x: Array) -> Array:
    return x[:, 0]


first_token = Pointwise("first_token", _first)
"""[N, T, C] to [N, C]: what became of the class token."""
