"""Dense (fully connected) maps."""

from __future__ import annotations

import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
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
