"""Element-wise non-linearities and softmax."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.typing import Array


def relu(x: Array) -> Array:
    """`max(0, x)`. Its gradient at 0 is 0, the subgradient that the decks choose.

    >>> jax.grad(relu)(0.0).item(), jax.grad(relu)(2.0).item()
    (0.0, 1.0)
    """
    return jax.nn.relu(x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent; derivative `1 - tanh(x)^2`."""
    return jnp.tanh(x)


def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`; derivative `sigmoid(x) (1 - sigmoid(x))`."""
    return jax.nn.sigmoid(x)


def gelu(x: Array) -> Array:
    """`x Phi(x)`, with the normal distribution function itself, not its tanh approximation.

    >>> round(gelu(jnp.asarray(1.0)).item(), 4)
    0.8413

    Source: Hendrycks and Gimpel 2016; the vision transformer of deck B.
    """
    return jax.nn.gelu(x, approximate=False)


def softmax(x: Array) -> Array:
    """`exp(x_k) / sum_j exp(x_j)` over the last axis, computed without overflow."""
    return jax.nn.softmax(x, axis=-1)
