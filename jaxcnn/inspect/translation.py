"""What moving the image changes: in the answer (invariance) and in the features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
from jaxcnn.functional.precision import widen
from jaxcnn.inspect.batches import over_batches
from jaxcnn.inspect.hidden import hidden_and_logits
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Params, State


class Response(NamedTuple):
    """What a shift of the images changed."""

    shift: tuple[int, int]  # rows down, columns right
    unchanged: float  # share of images whose predicted class stayed
    distance: float  # relative: |features moved - features| / |features|


@jax.jit
def translate(
    images: Array, down: Array | int, right: Array | int, fill: Array | float = 0.0
) -> Array:
    """Moves images by whole cells; what comes in at the edges is `fill`.

    Args:
      images: [N, H, W, C], floating.
      down, right: cells; negative is up and left.
      fill: the pixel of the background.

    >>> translate(jnp.asarray([1.0, 2, 3]).reshape(1, 1, 3, 1), 0, 1).ravel().tolist()
    [0.0, 1.0, 2.0]
    """
    check.images(images, spatial=2)
    height, width = images.shape[1:3]
    moved = jnp.roll(jnp.roll(images, down, axis=1), right, axis=2)
    rows = jnp.arange(height, dtype=jnp.int32) - down  # where they come from
    columns = jnp.arange(width, dtype=jnp.int32) - right
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None]
    return jnp.where(inside[None, :, :, None], moved, jnp.asarray(fill).astype(images.dtype))


def translation_response(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    shifts: Sequence[tuple[int, int]],
    *,
    layer: str | None = None,
    fill: float = 0.0,
    batch_size: int = 500,
) -> list[Response]:
    """How prediction and features change when the images are moved.

    The distance is `sqrt(sum_n |f(moved x_n) - f(x_n)|^2 / sum_n |f(x_n)|^2)`: 0 for features
    that do not notice the shift, about 1.4 for features that have nothing in common any more.
    It is a ratio of sums and not a mean of ratios, so that images without features count little.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      shifts: (rows down, columns right) of each test.
      layer: path of the layer whose features are compared; None as in `last_hidden`.
      fill: the pixel that comes in at the edges.
      batch_size: images at a time; the result does not depend on it but for rounding.

    Returns:
      A `Response(shift, unchanged, distance)` for each shift, in order; the distance is NaN if
      all features are zero. Waits for the device.

    Raises:
      ConfigError: a shift is no pair of ints, no layer has this path, or there is no `nn.Dense`
        and no layer is given.
      ShapeError: the images are not floating [N, H, W, C], or there are none.

    Source: deck C; Zeiler and Fergus 2014, "feature invariance".
    """
    for shift in shifts:
        pair = isinstance(shift, tuple | list) and len(shift) == 2
        if not pair or not all(isinstance(cells, int | np.integer) for cells in shift):
            raise ConfigError(
                f"shift {shift!r} is not allowed: expected two ints, rows down and columns right."
            )
    moves = jnp.asarray(shifts, jnp.int32).reshape(-1, 2)

    def run(mask: Array, images: Array) -> tuple[Array, Array, Array]:
        return _changes(model, params, state, images, mask, moves, fill, layer)

    same: np.ndarray = np.zeros(len(shifts))
    apart: np.ndarray = np.zeros(len(shifts))
    norm = 0.0
    for part, _ in over_batches(run, (images,), batch_size):
        same += np.asarray(part[0])  # host sync
        apart += np.asarray(part[1])
        norm += float(part[2])
    return [
        Response(
            (int(shift[0]), int(shift[1])),
            float(stayed) / len(images),
            math.sqrt(float(square) / norm) if norm else math.nan,
        )
        for shift, stayed, square in zip(shifts, same, apart, strict=True)
    ]


@partial(jax.jit, static_argnames=("model", "layer"))
def _changes(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    mask: Array,
    moves: Array,
    fill: float,
    layer: str | None,
) -> tuple[Array, Array, Array]:
    """For each move: predictions that stay, and squared distance; and the squared norm."""
    features, logits = hidden_and_logits(model, params, state, images, layer)

    def total(values: Array) -> Array:  # [N, D], padding left out
        return jnp.sum(jnp.where(mask[:, None], jnp.square(widen(values)), 0.0))

    def after(move: Array) -> tuple[Array, Array]:
        moved = translate(images, move[0], move[1], fill)
        features_after, logits_after = hidden_and_logits(model, params, state, moved, layer)
        stays = jnp.argmax(logits_after, axis=-1) == jnp.argmax(logits, axis=-1)
        return jnp.sum(stays & mask, dtype=jnp.int32), total(features_after - features)

    stay, apart = jax.lax.map(after, moves)
    return stay, apart, total(features)
