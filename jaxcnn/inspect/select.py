"""Naming what a picture is about: a layer by its path, a channel, the class of each image."""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from jaxcnn.api import apply
from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.features import features
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Params, Spec, State, describe


def output_of(
    model: Layer, params: Params, state: State, images: Array, layer: str | None
) -> Array:
    """The output of `layer` in evaluation; None stands for that of the whole network."""
    if layer is None:
        return apply(model, params, state, images)[0]
    maps = features(model, params, state, images)
    check_path(layer, maps)
    return maps[layer]


def check_path(layer: str, paths: Iterable[str]) -> None:
    """Raises unless `layer` is one of `paths`, which the error lists."""
    paths = list(paths)
    if layer not in paths:
        remedy = f"use one of {', '.join(paths)}." if paths else "wrap it, `nn.chain(name=layer)`."
        raise ConfigError(f"layer={layer!r} is not a layer of this network: {remedy}")


def check_channel(channel: int, output: Array | Spec, layer: str | None) -> None:
    """Raises unless `channel` counts one entry of the last axis of the layer's output."""
    whose = "the network" if layer is None else f"layer {layer!r}"
    if not isinstance(channel, int) or not 0 <= channel < output.shape[-1]:
        raise ConfigError(
            f"channel={channel!r} is not allowed: {whose} gives {describe(output)}, "
            f"use 0 .. {output.shape[-1] - 1}."
        )


def one_hot(classes: Array | int, logits: Array) -> tuple[Array, Array]:
    """Rows that pick from each example the logit of its class.

    Args:
      classes: [N] integer classes, or one class for all examples.
      logits: [N, K].

    Returns:
      Ones and zeros [N, K] in the dtype of `logits`, and [N] bool, whether the class is in
      0 .. K-1. Nothing can be raised inside compiled code, so callers turn the others to NaN.

    Raises:
      ShapeError: the shapes or dtypes do not fit.
    """
    classes = jnp.asarray(classes)
    integer = jnp.issubdtype(classes.dtype, jnp.integer)
    if logits.ndim != 2 or not integer or classes.shape not in ((), logits.shape[:1]):
        raise ShapeError(
            f"got logits {describe(logits)} and classes {describe(classes)}, expected logits "
            "[N, K] and integer classes [N], or one class for all examples."
        )
    classes = jnp.broadcast_to(classes, logits.shape[:1])
    inside = (classes >= 0) & (classes < logits.shape[1])
    return jax.nn.one_hot(classes, logits.shape[1], dtype=logits.dtype), inside
