"""Element-wise non-linearities and softmax.

Where a function has a corner, its gradient there is the derivative from the side on which
the function is flatter: 0 for ReLU at 0, the slope for leaky ReLU at 0, 0 for the ramp at -1
and 1. These are the subgradients that the decks choose (`1[x > 0]`, `1[-1 < x < 1]`).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, describe


def relu(x: Array) -> Array:
    """`max(0, x)`. Its gradient at 0 is 0, the subgradient that the decks choose.

    >>> jax.grad(relu)(0.0).item(), jax.grad(relu)(2.0).item()
    (0.0, 1.0)
    """
    return jax.nn.relu(x)


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """`max(slope x, x)`; derivative 1 where x > 0 and `slope` elsewhere, also at 0.

    Args:
      x: any shape, floating.
      slope: slope below 0, in [0, 1). Deck E uses 0.01, decks B and C use 0.1.

    Raises:
      ConfigError: `slope` is outside [0, 1).

    >>> print(leaky_relu(jnp.asarray([-2.0, 3.0]), 0.1))
    [-0.2  3. ]

    Source: Maas et al. 2013; decks B, C, E. At 0 the gradient of `jax.nn.leaky_relu` is 1;
    PyTorch's is the slope, as here.
    """
    check_slope(slope)
    return jnp.where(x > 0, x, slope * x)


def parametric_relu(x: Array, slope: Array) -> Array:
    """`x` where x > 0, `slope_c x` elsewhere, with a slope for each channel c.

    The derivative in `slope_c` is the sum of `min(0, x)` over the channel's entries.

    Args:
      x: [..., C], floating.
      slope: [C], or [] or [1] for one slope shared by all channels.

    Raises:
      ShapeError: `slope` does not fit the channels.

    >>> print(parametric_relu(jnp.asarray([[-2.0, -2.0]]), jnp.asarray([0.5, 0.25])))
    [[-1.  -0.5]]

    Source: He et al. 2015; deck E, which writes `max(slope x, x)`: the same while the slope
    is at most 1, and a trained slope may pass 1.
    """
    if slope.ndim > 1 or slope.size not in (1, x.shape[-1]):
        raise ShapeError(
            f"slope {describe(slope)} does not fit the input {describe(x)}: expected [C], a slope "
            "for each entry of the input's last axis, or a single one."
        )
    return jnp.where(x > 0, x, slope.reshape((1,) * (x.ndim - 1) + (-1,)) * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """`x` where x > 0, `alpha (exp(x) - 1)` elsewhere; derivative 1 and `alpha exp(x)`.

    Args:
      x: any shape, floating.
      alpha: minus the value approached far below 0, positive.

    Raises:
      ConfigError: `alpha` is not positive and finite.

    >>> print(elu(jnp.asarray([-100.0, 2.0])))
    [-1.  2.]

    Source: Clevert et al. 2015; decks B, C, E. The decks put x = 0 on either side, which
    matters to the derivative at 0 unless alpha is 1: here it is alpha, as in deck E.
    """
    check_alpha(alpha)
    return jax.nn.elu(x, alpha)


def gelu(x: Array) -> Array:
    """`x Phi(x)`, Phi the normal distribution function; derivative `Phi(x) + x phi(x)`.

    Exact, by the error function. `flax.linen.gelu` and `jax.nn.gelu` take the approximation
    by tanh unless told otherwise; it differs by up to 5e-4.

    >>> round(float(gelu(jnp.asarray(1.0))), 4)
    0.8413

    Source: Hendrycks and Gimpel 2016.
    """
    return jax.nn.gelu(x, approximate=False)


def ramp(x: Array) -> Array:
    """`max(-1, min(1, x))`; derivative `1[-1 < x < 1]`, so 0 at both corners.

    >>> print(ramp(jnp.asarray([-3.0, 0.5, 3.0])))
    [-1.   0.5  1. ]
    >>> jax.grad(ramp)(1.0).item(), jax.grad(ramp)(0.5).item()
    (0.0, 1.0)

    Source: deck E, which prints `min(-1, max(1, x))`, -1 everywhere: min and max are swapped.
    `jax.nn.hard_tanh` is the same function.
    """
    # Not `jnp.clip`: its gradient at a corner is one half.
    return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))


def tanh(x: Array) -> Array:
    """Hyperbolic tangent; derivative `1 - tanh(x)^2`."""
    return jnp.tanh(x)


def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`; derivative `sigmoid(x) (1 - sigmoid(x))`."""
    return jax.nn.sigmoid(x)


def softmax(x: Array) -> Array:
    """`exp(x_k) / sum_j exp(x_j)` over the last axis, computed without overflow."""
    return jax.nn.softmax(x, axis=-1)


def check_slope(slope: float) -> None:
    """Raises unless `slope` is in [0, 1)."""
    if not 0 <= slope < 1:
        raise ConfigError(
            f"slope={slope!r} is not allowed: use [0, 1), such as 0.01; "
            "a trained slope is `parametric_relu`'s."
        )


def check_alpha(alpha: float) -> None:
    """Raises unless `alpha` is positive and finite."""
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"alpha={alpha!r} is not allowed: expected a positive, finite number.")
