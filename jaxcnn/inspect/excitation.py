"""What a unit looks for: an image that excites it, found by gradient ascent from noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
from jaxcnn.functional.precision import widen
from jaxcnn.inspect.select import check_channel, output_of
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Key, Params, State


class Excitation(NamedTuple):
    """An image made to excite a channel, and the channel's mean before and after."""

    image: Array  # [H, W, C], in [0, 1]
    before: Array  # [], on the noise it started from
    after: Array  # [], on `image`


def maximize_activation(
    model: Layer,
    params: Params,
    state: State,
    key: Key,
    shape: Sequence[int],
    *,
    layer: str | None,
    channel: int,
    steps: int = 200,
    rate: float = 0.02,
    decay: float = 0.1,
    blur: float = 0.0,
    blur_every: int = 4,
    neutral: float = 0.5,
    noise: float = 0.05,
) -> Excitation:
    """Climbs from noise to an image on which the mean of a channel is large.

    A step is `x <- clip(blur(x + r (g / rms(g) - d (x - neutral))), 0, 1)`, g the gradient of
    the channel's mean. Dividing by its root mean square makes r mean the same for every layer:
    so much the average pixel moves. The decay d and the blur are there because without them
    the image fills with fine noise that excites the unit as well.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      key: random key of the noise.
      shape: of the image, (H, W, C).
      layer: path of the layer; None is the network's output, whose channels are the logits.
      channel: which entry of the last axis; its mean over all other axes is climbed.
      steps: how many.
      rate: r, in units of pixels.
      decay: d, how strongly pixels are pulled to `neutral`; 0 is not at all.
      blur: standard deviation in cells of a Gaussian blur; 0 is none.
      blur_every: steps from one blur to the next.
      neutral: the pixel that means nothing: 0.5 for photographs, 0 for digits on black.
      noise: standard deviation of the noise around `neutral` from which the climb starts.

    Returns:
      `Excitation(image, before, after)`. Where the gradient is zero everywhere, as for a dead
      unit, the image only falls back to `neutral`.

    Raises:
      ConfigError: no layer has this path, the channel does not exist, or a number is out of
        range.
      ShapeError: `shape` is not (H, W, C).

    Source: Simonyan et al. 2014 (ascent with decay); Yosinski et al. 2015 (blur); deck E
    (deep dream).
    """
    if min(steps, decay, blur, noise) < 0 or rate <= 0 or blur_every < 1:
        raise ConfigError(
            f"steps={steps!r}, rate={rate!r}, decay={decay!r}, blur={blur!r}, "
            f"blur_every={blur_every!r}, noise={noise!r} is not allowed: rate and blur_every are "
            "positive, the others are not negative."
        )
    spec = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    check.images(spec, spatial=2)
    output = jax.eval_shape(partial(output_of, model, layer=layer), params, state, spec)
    check_channel(channel, output, layer)
    start = jnp.clip(neutral + noise * jax.random.normal(key, spec.shape, spec.dtype), 0.0, 1.0)
    blurs = tuple(gaussian(size, blur) for size in spec.shape[1:3]) if blur else None
    settings = {"rate": rate, "decay": decay, "neutral": neutral}
    image, before, after = _climb(
        model, params, state, start, layer, channel, steps, settings, blurs, blur_every
    )
    return Excitation(image[0], before, after)


@partial(jax.jit, static_argnames=("model", "layer"))
def _climb(
    model: Layer,
    params: Params,
    state: State,
    start: Array,
    layer: str | None,
    channel: Array | int,
    steps: Array | int,
    settings: dict[str, Array | float],
    blurs: tuple[Array, Array] | None,
    blur_every: Array | int,
) -> tuple[Array, Array, Array]:
    def value(x: Array) -> Array:
        y = widen(output_of(model, params, state, x, layer))
        return jnp.mean(jnp.take(y, channel, axis=-1))

    def step(i: Array, x: Array) -> Array:
        g = jax.grad(value)(x)
        size = jnp.sqrt(jnp.mean(jnp.square(g)))
        g = jnp.where(size > 0, g / jnp.where(size > 0, size, 1.0), 0.0)
        x = x + settings["rate"] * (g - settings["decay"] * (x - settings["neutral"]))
        if blurs is not None:
            smooth = jnp.einsum("ih,nhwc,jw->nijc", blurs[0], x, blurs[1])
            x = jnp.where((i + 1) % blur_every == 0, smooth, x)
        return jnp.clip(x, 0.0, 1.0)

    image = jax.lax.fori_loop(0, steps, step, start)
    return image, value(start), value(image)


def gaussian(size: int, deviation: float) -> Array:
    """A Gaussian blur along one axis as a matrix [size, size] whose rows sum to one.

    >>> print(gaussian(2, 1.0).round(2))
    [[0.62 0.38]
     [0.38 0.62]]
    """
    cells = np.arange(size)
    weights = np.exp(-0.5 * ((cells[:, None] - cells[None, :]) / deviation) ** 2)
    # Divided by the sum of what is inside: edges are not darkened.
    return jnp.asarray(weights / weights.sum(axis=1, keepdims=True), jnp.float32)
