"""Dense (fully connected) maps, and the maximum of several."""

from __future__ import annotations

import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.pool import channel_pool
from jaxcnn.typing import Array, describe


def dense(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """`y = x W + b` over the last axis.

    Args:
      x: [..., n_in], floating.
      kernel: W, [n_in, n_out].
      bias: b, [n_out], or None.

    Returns:
      [..., n_out].

    Raises:
      ShapeError: the sizes do not fit.

    >>> print(dense(jnp.asarray([[1., 2.]]), jnp.asarray([[1., 0., 1.], [0., 1., 1.]])))
    [[1. 2. 3.]]

    Source: decks A to E.
    """
    check.floating(x)
    if kernel.ndim != 2 or x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ShapeError(
            f"kernel {describe(kernel)} does not fit the input {describe(x)}: "
            "expected [n_in, n_out] with n_in the last axis of the input.\n"
            "Images need flattening before a dense layer: `nn.Flatten()` or `F.flatten(x)`."
        )
    if bias is not None and bias.shape != kernel.shape[1:]:
        raise ShapeError(f"bias is {describe(bias)}, expected [{kernel.shape[1]}].")
    y = jnp.matmul(x, kernel)
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


def flatten(x: Array) -> Array:
    """[N, ...] to [N, product of the rest], in row-major order (channels vary fastest)."""
    return x.reshape(x.shape[0], -1)


def maxout(x: Array, kernel: Array, bias: Array | None = None, *, pieces: int = 2) -> Array:
    """`max(x W1 + b1, x W2 + b2, ...)`: a learned activation, convex and piecewise linear.

    Args:
      x: [..., n_in], floating.
      kernel: [n_in, n_out * pieces]; the pieces of one output side by side.
      bias: [n_out * pieces], or None.
      pieces: how many maps the maximum is taken of.

    Returns:
      [..., n_out].

    Raises:
      ShapeError: the sizes do not fit, or `pieces` does not divide the outputs.
      ConfigError: `pieces` is not a positive int.

    The absolute value is the maximum of `x` and `-x`:

    >>> print(maxout(jnp.asarray([[-3.0], [2.0]]), jnp.asarray([[1.0, -1.0]])))
    [[3.]
     [2.]]

    Source: deck C, "maxout"; Goodfellow et al. 2013. For a convolutional maxout put
    `channel_pool` behind `conv`.
    """
    return channel_pool(dense(x, kernel, bias), pieces)
