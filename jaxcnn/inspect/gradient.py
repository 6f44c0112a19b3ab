"""Which pixels speak for a class, by its gradient: saliency maps and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxcnn.api import apply
from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.precision import widen
from jaxcnn.inspect.select import one_hot, output_of
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Params, State, describe

T = TypeVar("T")


@partial(jax.jit, static_argnames="model")
def saliency(
    model: Layer, params: Params, state: State, images: Array, classes: Array | int
) -> Array:
    """How much each pixel moves the logit of a class: `max_c |d logit / d x[i, j, c]|`.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      classes: [N] integer classes, or one class for all images.

    Returns:
      [N, H, W], not negative. NaN for an image whose class is outside 0 .. K-1.

    Raises:
      ShapeError: the images, the logits or the classes have another shape or dtype.

    Of a linear network it is the size of the weights, whatever the image:

    >>> from jaxcnn import nn
    >>> params = {"fc": {"kernel": jnp.asarray([[3.0], [-5.0]]), "bias": jnp.zeros(1)}}
    >>> model = nn.chain(flat=nn.Flatten(), fc=nn.Dense(1))
    >>> print(saliency(model, params, {}, jnp.ones((1, 1, 2, 1)), 0))
    [[[3. 5.]]]

    Source: Simonyan, Vedaldi and Zisserman 2014; deck E.
    """
    check.images(images, spatial=2)

    def logits(images: Array) -> tuple[Array, None]:
        return apply(model, params, state, images)[0], None

    gradient, _ = _class_gradient(logits, images, classes)
    return jnp.max(jnp.abs(gradient), axis=-1)


@partial(jax.jit, static_argnames=("model", "layer"))
def grad_cam(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    classes: Array | int,
    layer: str,
) -> Array:
    """Where in the image a layer sees the class: Grad-CAM.

    `a_k = mean_ij d logit / d A[i, j, k]` and `map = relu(sum_k a_k A[:, :, k])`, A the output
    of the layer; the map is resized to the image, bilinearly.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      classes: [N] integer classes, or one class for all images.
      layer: path of a layer whose output is [N, h, w, c]; the last convolution or the
        activation after it is usual.

    Returns:
      [N, H, W], not negative, in units of the logit: for a picture divide by the largest
      entry. NaN for an image whose class is outside 0 .. K-1.

    Raises:
      ConfigError: no layer has this path.
      ShapeError: the layer's output is no map, or the images, logits or classes do not fit.

    Source: Selvaraju et al. 2017.
    """
    check.images(images, spatial=2)
    spec = jax.eval_shape(partial(output_of, model, layer=layer), params, state, images)
    if len(spec.shape) != 4:
        raise ShapeError(
            f"layer {layer!r} gives {describe(spec)}, expected a map [N, h, w, c].\n"
            "Choose a layer before the flattening or the global pooling."
        )

    def logits(moved: Array) -> tuple[Array, Array]:
        """The logits where `moved` is added to the map, and the map."""
        maps: list[Array] = []

        def move(path: str, inner: Layer, x: Array, y: Array) -> Array:
            del inner, x  # only the output matters
            if path != layer:
                return y
            maps.append(y)
            return y + moved

        return apply(model, params, state, images, tap=move)[0], maps[0]

    gradient, found = _class_gradient(logits, jnp.zeros(spec.shape, spec.dtype), classes)
    weights = jnp.mean(widen(gradient), axis=(1, 2))  # [N, c]
    coarse = jax.nn.relu(jnp.einsum("nhwc,nc->nhw", widen(found), weights))
    return jax.image.resize(coarse, images.shape[:3], method="bilinear")


def _class_gradient(
    function: Callable[[Array], tuple[Array, T]], at: Array, classes: Array | int
) -> tuple[Array, T]:
    """Gradient of each example's class logit, and what else `function` returns.

    In evaluation every example is on its own, so one backward pass serves all of them.
    """
    logits, pull, rest = jax.vjp(function, at, has_aux=True)
    picked, inside = one_hot(classes, logits)
    (gradient,) = pull(picked)
    inside = inside.reshape(-1, *(1,) * (at.ndim - 1))
    return jnp.where(inside, gradient, jnp.nan), rest
