"""What several peers on JAX share: operations that their libraries do not have."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks import LocalResponseNorm


def local_response_norm(x: jax.Array, layer: LocalResponseNorm, axis: int = -1) -> jax.Array:
    """x / (k + alpha * sum of the window's squares)^beta along the channels."""
    axis %= x.ndim
    half, size = layer.window // 2, x.shape[axis]
    pads = [(half, half) if i == axis else (0, 0) for i in range(x.ndim)]
    squares = jnp.pad(x * x, pads)
    windows = (jax.lax.slice_in_dim(squares, i, i + size, axis=axis) for i in range(layer.window))
    total = sum(windows, start=jnp.zeros_like(x))
    return x / (layer.k + layer.alpha * total) ** layer.beta


def halve_and_pad(x: jax.Array) -> jax.Array:
    """Every other pixel of [N, H, W, C], half as many zeros as channels on both their sides."""
    channels = x.shape[-1] // 2
    return jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (channels, channels)))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy of [N, K] logits and [N] labels."""
    logs = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], 1))


def count(tree: Any) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
