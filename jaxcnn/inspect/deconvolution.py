"""What a unit saw: its strongest activation projected back to the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError
from jaxcnn.features import features
from jaxcnn.functional import check
from jaxcnn.inspect.select import check_channel, check_path
from jaxcnn.layer import Context, Layer, call
from jaxcnn.nn import (
    AvgPool,
    BatchNorm,
    Chain,
    Conv,
    DepthwiseConv,
    Dropout,
    MaxPool,
    SpatialDropout,
    identity,
    relu,
)
from jaxcnn.typing import Array, Params, State

# Those whose gradient is the way back: linear in the input (but for a constant), or routed.
_BY_GRADIENT = (AvgPool, BatchNorm, Conv, DepthwiseConv, Dropout, MaxPool, SpatialDropout)


class _Link(NamedTuple):
    """One layer of a chain, ready to run on its own."""

    path: str
    layer: Layer
    run: Callable[[Array], Array]


@partial(jax.jit, static_argnames=("model", "layer", "channel"))
def deconvolve(
    model: Layer, params: Params, state: State, images: Array, layer: str, channel: int
) -> Array:
    """Projects the strongest activation of a channel back to the pixels, layer by layer.

    All other activations of the layer are set to zero, and the signal goes back: through a
    convolution by its transpose, through max pooling to the places where the maxima came from
    (the switches), through ReLU by ReLU *of the signal*. That last point is what sets it apart
    from the gradient, which lets through what was positive on the way forward.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      layer: path of the layer. Up to it the network must be a chain of convolutions, max and
        average pooling, `nn.relu`, batch normalization, dropout and `nn.identity`; chains
        inside chains are fine. What comes after it does not matter.
      channel: which channel of the layer.

    Returns:
      [N, H, W, C]: for each image the pattern that excited the channel most, in units of
      activation; zero outside the receptive field of that place.

    Raises:
      ConfigError: no layer has this path, the channel does not exist, or a layer on the way
        has no projection; the error names it.

    Source: Zeiler and Fergus 2014; deck E.
    """
    check.images(images, spatial=2)
    links = _links_to(model, params, state, images, layer)
    backs: list[Callable[[Array], Array]] = []
    x = images
    for link in links:
        y, pull = jax.vjp(link.run, x)
        backs.append(jax.nn.relu if link.layer == relu else _only(pull))
        x = y
    check_channel(channel, x, layer)
    signal = _strongest(x, channel)
    for back in reversed(backs):
        signal = back(signal)
    return signal


def _strongest(y: Array, channel: int) -> Array:
    """`y` with everything but the largest entry of `channel` set to zero, for each example."""
    of_channel = y[..., channel].reshape(y.shape[0], -1)
    place = jnp.argmax(of_channel, axis=-1)
    kept = jnp.arange(of_channel.shape[1])[None, :] == place[:, None]
    kept = jnp.where(kept, of_channel, 0.0).reshape(y.shape[:-1])
    return jnp.zeros_like(y).at[..., channel].set(kept)


def _only(pull: Callable[[Array], tuple[Array]]) -> Callable[[Array], Array]:
    return lambda signal: pull(signal)[0]


def _links_to(model: Layer, params: Params, state: State, images: Array, layer: str) -> list[_Link]:
    """The links from the image to `layer`, checked to have a projection each."""
    check_path(layer, features(model, params, state, images))  # only the names are used
    links: list[_Link] = []
    done = False
    for link in _links(model, params, state, Context()):
        # A chain's output is that of the last link inside it.
        named = link.path == layer or link.path.startswith(f"{layer}/")
        if done and not named:
            break
        done = named
        links.append(link)
        if not (isinstance(link.layer, _BY_GRADIENT) or link.layer in (relu, identity)):
            raise ConfigError(
                f"cannot project back through layer {link.path!r}, {link.layer!r}: only chains of "
                "Conv, DepthwiseConv, MaxPool, AvgPool, relu, BatchNorm, Dropout and identity are "
                "supported.\nChoose a layer before it, or use `saliency` or `grad_cam`."
            )
    return links


def _links(model: Layer, params: Params, state: State, ctx: Context) -> Iterator[_Link]:
    """The layers of a chain and of the chains inside it, in the order of execution."""
    if not isinstance(model, Chain):
        raise ConfigError(
            f"cannot project back through {model!r}: expected a network built by `nn.chain`."
        )
    for name, layer in model.layers:
        inner = ctx.enter(name)
        if isinstance(layer, Chain):
            yield from _links(layer, params.get(name, {}), state.get(name, {}), inner)
        else:
            yield _Link(inner.path, layer, partial(_run, layer, name, params, state, ctx))


def _run(layer: Layer, name: str, params: Params, state: State, ctx: Context, x: Array) -> Array:
    return call(layer, name, params, state, x, ctx)[0]
