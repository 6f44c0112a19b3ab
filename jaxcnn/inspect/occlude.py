"""Which parts of an image a class needs: cover them and watch its probability."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.api import apply
from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.precision import widen
from jaxcnn.functional.window import Size, per_axis
from jaxcnn.inspect.select import one_hot
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Params, State, describe


def occlusion(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    classes: Array | int,
    *,
    window: Size,
    stride: Size | None = None,
    fill: Array | float | None = None,
) -> Array:
    """How far the probability of a class drops when a window of the image is covered.

    `drop[n, i, j] = p(class | x) - p(class | x with window (i, j) covered)`, where window
    (i, j) begins in row `S i` and column `S j`.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      classes: [N] integer classes, or one class for all images.
      window: rows and columns of the window.
      stride: S, cells between neighbouring windows; None means `window` (no overlap).
      fill: what covers the window: a number, or [C]. None means the mean of the image, for
        each image and channel.

    Returns:
      [N, windows down, windows across]. Negative where covering helps the class. NaN for an
      image whose class is outside 0 .. K-1.

    Raises:
      ShapeError: the windows do not cover the image evenly, or something else does not fit.
      ConfigError: `window` or `stride` is not positive.

    The network runs once for each window, on all images together.

    Source: Zeiler and Fergus 2014, who cover with grey.
    """
    check.images(images, spatial=2)
    windows = per_axis(window, 2, "window")
    strides = windows if stride is None else per_axis(stride, 2, "stride")
    for size, extent, step in zip(images.shape[1:3], windows, strides, strict=True):
        if extent > size or (size - extent) % step:
            raise ShapeError(
                f"got {describe(images)}: windows of {extent} at a stride of {step} do not cover "
                f"{size} cells evenly.\nChoose them so that {size} - window is a multiple of "
                "the stride, and not negative."
            )
    if fill is None:
        cover = jnp.mean(widen(jnp.asarray(images)), axis=(1, 2), keepdims=True)
    else:
        cover = jnp.asarray(fill)
        if cover.shape not in ((), images.shape[-1:]):
            raise ShapeError(
                f"got fill {describe(cover)}, expected a number or one for each of the "
                f"{images.shape[-1]} channels."
            )
        cover = cover.reshape(1, 1, 1, -1)
    return _drops(model, params, state, images, classes, cover, windows, strides)


@partial(jax.jit, static_argnames=("model", "windows", "strides"))
def _drops(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    classes: Array | int,
    cover: Array,  # [N or 1, 1, 1, C or 1]
    windows: tuple[int, ...],
    strides: tuple[int, ...],
) -> Array:
    height, width = images.shape[1:3]
    rows = jnp.arange(0, height - windows[0] + 1, strides[0])
    columns = jnp.arange(0, width - windows[1] + 1, strides[1])

    def probability(images: Array) -> Array:
        logits = widen(apply(model, params, state, images)[0])
        picked, inside = one_hot(classes, logits)
        return jnp.where(inside, jnp.sum(jax.nn.softmax(logits, axis=-1) * picked, -1), jnp.nan)

    def covered(corner: tuple[Array, Array]) -> Array:
        top, left = corner
        here = _between(top, windows[0], height)[:, None] & _between(left, windows[1], width)[None]
        return probability(jnp.where(here[None, :, :, None], cover.astype(images.dtype), images))

    grid = jnp.meshgrid(rows, columns, indexing="ij")
    after = jax.lax.map(covered, (grid[0].ravel(), grid[1].ravel()))  # [windows, N]
    drops = probability(images)[None] - after
    return drops.T.reshape(images.shape[0], rows.size, columns.size)


def _between(start: Array, extent: int, size: int) -> Array:
    """[size] bool, True on `start .. start + extent - 1`."""
    cells = jnp.arange(size)
    return (cells >= start) & (cells < start + extent)
