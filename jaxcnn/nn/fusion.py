"""Neighbouring layers of a chain that can be computed as one operation.

A description stays what it is: layers one after another. Only how a chain runs them changes,
and only when nobody looks in between: with a tap, every layer runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn import functional as F
from jaxcnn.functional.conv import prepare
from jaxcnn.functional.lowering import choice
from jaxcnn.layer import Context, Layer, located
from jaxcnn.nn.conv import Conv
from jaxcnn.nn.pointwise import Pointwise, relu
from jaxcnn.nn.pool import AvgPool, MaxPool
from jaxcnn.typing import Array, Params


class Fused(NamedTuple):
    """The output of the first `layers` layers of a chain."""

    y: Array
    layers: int


def fuse(
    layers: Sequence[tuple[str, Layer]], params: Params, x: Array, ctx: Context
) -> Fused | None:
    """Runs the layers at the head of `layers` as one, or returns None if they are not a group.

    A group is a convolution with stride 1, a function of each number, and 2x2 pooling, of a size
    for which `functional.conv_relu_pool` or `conv_act_pool` has a faster way than one after
    another.
    """
    if ctx.tap is not None or len(layers) < 3:
        return None
    (name, conv), (_, act), (_, pool) = layers[:3]
    if not (
        isinstance(conv, Conv)
        and isinstance(act, Pointwise)
        and isinstance(pool, MaxPool | AvgPool)
    ):
        return None
    kernel = params.get(name, {}).get("kernel")
    plain = conv.stride == conv.dilation == conv.groups == 1
    halves = pool.window == 2 and pool.stride in (None, 2) and pool.padding in ("VALID", 0)
    if not (plain and halves) or x.ndim != 4 or jnp.ndim(kernel) != 4:
        return None
    names = tuple(each for each, _ in layers[:3])
    with jax.named_scope("+".join(names)), located(name, conv, x):
        bias = params[name]["bias"].astype(x.dtype) if conv.bias else None
        kernel = kernel.astype(x.dtype)
        geometry, padded = prepare(
            x, kernel, bias, 1, conv.padding, conv.padding_mode, 1, 1, "exact"
        )
        if act == relu and isinstance(pool, MaxPool):
            how = choice.fused_lowering("auto", padded, kernel, geometry)
            odd = any(size % 2 for size in geometry.output(padded.shape[1:3], kernel.shape[:2]))
            if how not in ("block", "gemm") or (odd and pool.rounding == "exact"):
                return None  # and the layers, one after another, say what does not fit
            y = F.conv_relu_pool(
                padded, kernel, bias, padding=geometry.pads, rounding=pool.rounding
            )
            operation = "conv_relu_pool"
        else:
            how = choice.act_lowering("auto", padded, kernel, geometry)
            maps = jax.ShapeDtypeStruct(
                (len(x), *geometry.output(padded.shape[1:3], kernel.shape[:2]), conv.features),
                x.dtype,
            )
            if how != "gemm" or jax.eval_shape(act.function, maps) != maps:
                return None
            kind: Literal["max", "avg"] = "max" if isinstance(pool, MaxPool) else "avg"
            y = F.conv_act_pool(padded, kernel, bias, act.function, kind, padding=geometry.pads)
            operation = "conv_act_pool"
        choice.note(operation, how, tuple(ctx.enter(each).path for each in names))
    return Fused(y, 3)
