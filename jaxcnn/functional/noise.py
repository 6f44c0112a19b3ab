"""Random operations: each takes its key."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError
from jaxcnn.functional import check
from jaxcnn.typing import Array, Key


def dropout(x: Array, key: Key, *, rate: float) -> Array:
    """Sets each entry to 0 with probability `rate` and divides the rest by `1 - rate`.

    The expectation is `x`, so nothing has to change at test time.

    Args:
      x: any shape, floating.
      key: random key.
      rate: fraction dropped, in [0, 1).

    Raises:
      ConfigError: `rate` is outside [0, 1).

    Source: decks A and E (which scale at test time instead: the same average model).
    """
    check_rate(rate)
    if rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))


def check_rate(rate: float) -> None:
    """Raises unless `rate` is in [0, 1)."""
    if not 0 <= rate < 1:
        raise ConfigError(
            f"rate={rate!r} is not allowed: it is the fraction dropped, at least 0 and below 1."
        )


def spatial_dropout(x: Array, key: Key, *, rate: float) -> Array:
    """Dropout of whole channels: each is kept or set to 0 over all of space.

    Neighbouring cells of a map are so alike that dropping single ones hides nothing.

    Args:
      x: [N, *space, C], floating.
      key: random key.
      rate: fraction of the channels of an example that is dropped, in [0, 1).

    Raises:
      ConfigError: `rate` is outside [0, 1).
      ShapeError: rank or dtype does not fit.

    >>> y = spatial_dropout(jnp.ones((1, 2, 2, 8)), jax.random.key(0), rate=0.5)
    >>> bool((y == y[:, :1, :1]).all())
    True

    Source: Tompson et al. 2015. PyTorch's `Dropout2d`; Flax's `Dropout(broadcast_dims=(1, 2))`.
    """
    check_rate(rate)
    rank = check.images(x)
    if rate == 0:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, (x.shape[0], *(1,) * rank, x.shape[-1]))
    return jnp.where(keep, x / (1 - rate), jnp.zeros_like(x))
