"""Statistics and normalization.

Numerical decisions, all from cases where libraries go wrong:

- Statistics are computed and kept in float32 or wider, whatever the dtype of the input.
- The variance takes two passes, `mean((x - mean)^2)`. The one-pass `mean(x^2) - mean^2`
  loses all digits where the mean is large and can become negative.
- It is the biased variance (divided by n) throughout, also in running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.lowering import choice, response
from jaxcnn.functional.precision import widen
from jaxcnn.typing import Array, describe


def moments(
    x: Array,
    axes: Sequence[int],
    *,
    mask: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Mean and biased variance over `axes`, in float32 or wider.

    Args:
      x: [N, ...].
      axes: the axes to reduce.
      mask: [N] bool; rows where it is False do not count. Needs 0 among `axes`.
      axis_name: mapped axis over whose devices the statistics are shared, or None.

    Returns:
      `(mean, variance)`, each of the shape of `x` without `axes`.

    Raises:
      ShapeError: `mask` does not match the batch.

    >>> mean, var = moments(jnp.asarray([[1.0], [3.0], [99.0]]), (0,),
    ...                     mask=jnp.asarray([True, True, False]))
    >>> mean.item(), var.item()
    (2.0, 1.0)
    """
    wide = widen(x)
    cells = math.prod(x.shape[axis] for axis in axes)
    if mask is None:
        weights = None
        count = jnp.asarray(cells, wide.dtype)
    else:
        if mask.shape != x.shape[:1] or 0 not in axes:
            raise ShapeError(
                f"mask {describe(mask)} does not fit the batch {describe(x)}: expected "
                f"[{x.shape[0]}] and statistics over the batch axis."
            )
        weights = mask.astype(wide.dtype).reshape((-1,) + (1,) * (x.ndim - 1))
        count = jnp.sum(weights) * (cells // x.shape[0])
    if axis_name is not None:
        count = lax.psum(count, axis_name)
    count = jnp.maximum(count, 1)

    def mean_of(values: Array) -> Array:
        if weights is not None:
            values = values * weights
        total = jnp.sum(values, axis=tuple(axes))
        return (total if axis_name is None else lax.psum(total, axis_name)) / count

    mean = mean_of(wide)
    variance = mean_of(jnp.square(wide - jnp.expand_dims(mean, tuple(axes))))
    return mean, variance


def normalize(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> Array:
    """`scale (x - mean) / sqrt(variance + epsilon) + bias` for each channel.

    Args:
      x: [..., C].
      mean: [C].
      variance: [C], biased.
      scale: [C], or None for 1.
      bias: [C], or None for 0.
      epsilon: added to the variance, inside the root.

    Returns:
      Like `x`; computed in the dtype of the statistics, returned in that of `x`.
    """

    def spread(a: Array) -> Array:
        return a.reshape((1,) * (x.ndim - 1) + (-1,)).astype(mean.dtype)

    factor = lax.rsqrt(variance + jnp.asarray(epsilon, variance.dtype))
    if scale is not None:
        factor = factor * scale.astype(factor.dtype)
    y = (x.astype(mean.dtype) - spread(mean)) * spread(factor)
    return (y if bias is None else y + spread(bias)).astype(x.dtype)


def layer_norm(
    x: Array, scale: Array | None = None, bias: Array | None = None, *, epsilon: float = 1e-6
) -> Array:
    """Normalizes the channels of each example and place: no statistics of a batch.

    `scale (x - mean) / sqrt(variance + epsilon) + bias`, mean and variance over the channels.

    Args:
      x: [..., C], floating.
      scale: [C], or None for 1.
      bias: [C], or None for 0.
      epsilon: added to the variance, inside the root.

    Returns:
      Like `x`; computed in float32 or wider.

    Raises:
      ShapeError: `x` is not floating, or `scale` or `bias` is not [C].

    >>> print(layer_norm(jnp.asarray([[1.0, 3.0], [10.0, 30.0]])).round(3))
    [[-1.  1.]
     [-1.  1.]]

    Source: Ba, Kiros and Hinton 2016; the vision transformer of deck B. Epsilon is Flax's;
    PyTorch has 1e-5, and over images usually normalizes space as well (`group_norm` with
    one group, but for the shape of `scale`).
    """
    check.floating(x)
    _check_affine(x, scale, bias)
    mean, variance = moments(x, (-1,))
    return _affine(x, widen(x) - mean[..., None], variance[..., None], scale, bias, epsilon)


def group_norm(
    x: Array,
    scale: Array | None = None,
    bias: Array | None = None,
    *,
    groups: int,
    epsilon: float = 1e-6,
) -> Array:
    """Normalizes each example over space and over groups of neighbouring channels.

    `scale (x - mean) / sqrt(variance + epsilon) + bias`, mean and variance over the group.

    Args:
      x: [N, *space, C], floating.
      scale: [C], or None for 1.
      bias: [C], or None for 0.
      groups: how many. 1 normalizes whole examples, C each channel ("instance norm").
      epsilon: added to the variance, inside the root.

    Returns:
      Like `x`; computed in float32 or wider.

    Raises:
      ConfigError: `groups` does not divide C.
      ShapeError: rank or dtype does not fit, or `scale` or `bias` is not [C].

    >>> x = jnp.asarray([1.0, 3.0, 10.0, 30.0]).reshape(1, 1, 4)
    >>> print(group_norm(x, groups=2)[0, 0].round(3))
    [-1.  1. -1.  1.]

    Source: Wu and He 2018. Epsilon is Flax's; PyTorch has 1e-5.
    """
    check.images(x)
    _check_affine(x, scale, bias)
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise ConfigError(
            f"groups={groups} is not allowed: it must divide the {channels} channels."
        )
    parts = widen(x).reshape(x.shape[0], -1, groups, channels // groups)
    mean, variance = moments(parts, (1, 3))
    # [N, 1, groups, 1], which spreads over the parts
    mean, variance = (stat[:, None, :, None] for stat in (mean, variance))
    centred = (parts - mean).reshape(x.shape)
    variance = jnp.broadcast_to(variance, (x.shape[0], 1, groups, channels // groups))
    variance = variance.reshape(x.shape[0], *(1,) * (x.ndim - 2), channels)
    return _affine(x, centred, variance, scale, bias, epsilon)


def local_response_norm(
    x: Array, *, window: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> Array:
    """Divides each value by a power of the energy of its neighbouring channels.

    `y[..., c] = x[..., c] / (k + alpha sum_j x[..., j]^2)^beta` over the `window` channels j
    around c, fewer at the ends.

    Args:
      x: [..., C], floating.
      window: channels that are summed, odd; n in the paper.
      k, alpha, beta: constants; the defaults are AlexNet's.

    Returns:
      Like `x`; computed in float32 or wider.

    Raises:
      ConfigError: `window` is not odd and positive, or `k` is not positive.
      ShapeError: `x` is not floating.

    >>> x = jnp.asarray([[1.0, 1.0, 0.0, 0.0, 2.0]])
    >>> print(local_response_norm(x, window=3, k=2.0, alpha=1.0, beta=0.5))
    [[0.5       0.5       0.        0.        0.8164966]]

    Source: Krizhevsky, Sutskever and Hinton 2012 (AlexNet), section 3.3. Libraries differ:

    - The paper, TensorFlow and this function multiply the sum by `alpha`. Caffe and PyTorch
      multiply by `alpha / window`: pass their `alpha` divided by `window`.
    - The paper has k = 2; Caffe, PyTorch and TensorFlow have 1.
    - TensorFlow's `depth_radius` is `(window - 1) / 2`, by default 5: a window of 11.
    """
    check.floating(x)
    if window < 1 or window % 2 == 0 or k <= 0:
        raise ConfigError(
            f"window={window!r}, k={k!r} is not allowed: the window is a positive odd number of "
            "channels, so that it has a middle, and k is positive."
        )
    wide = widen(x)
    norm = response.by_hand if choice.on_cpu() else response.plain
    return norm(wide, window, k, alpha, beta).astype(x.dtype)


def _check_affine(x: Array, scale: Array | None, bias: Array | None) -> None:
    for name, value in (("scale", scale), ("bias", bias)):
        if value is not None and value.shape != x.shape[-1:]:
            raise ShapeError(
                f"{name} is {describe(value)} for an input {describe(x)}: expected "
                f"[{x.shape[-1]}], one for each channel."
            )


def _affine(
    x: Array,
    centred: Array,
    variance: Array,
    scale: Array | None,
    bias: Array | None,
    epsilon: float,
) -> Array:
    """`scale centred / sqrt(variance + epsilon) + bias`, in the dtype of `x`."""
    y = centred * lax.rsqrt(variance + jnp.asarray(epsilon, variance.dtype))
    spread = (1,) * (x.ndim - 1) + (-1,)
    if scale is not None:
        y = y * scale.astype(y.dtype).reshape(spread)
    if bias is not None:
        y = y + bias.astype(y.dtype).reshape(spread)
    return y.astype(x.dtype)
