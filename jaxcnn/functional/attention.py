"""Attention over a sequence of tokens [N, T, C], and the patches that make tokens of images."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxcnn.errors import ShapeError
from jaxcnn.functional import check
from jaxcnn.functional.conv import conv
from jaxcnn.functional.precision import wide
from jaxcnn.typing import Array, describe


def patch_embedding(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """Cuts images into patches that do not overlap and maps each to a token.

    A convolution whose stride is its window, with the spatial axes flattened, row by row.

    Args:
      x: [N, *space, C], floating.
      kernel: [*patch, C, D].
      bias: [D], or None.

    Returns:
      [N, T, D], one token for each patch.

    Raises:
      ShapeError: the patches do not tile the image, or rank, dtype or channels do not fit.

    >>> patch_embedding(jnp.ones((1, 224, 224, 3)), jnp.ones((16, 16, 3, 8))).shape
    (1, 196, 8)

    Source: deck B, "vision transformers"; Dosovitskiy et al. 2020.
    """
    check.images(x)
    y = conv(x, kernel, bias, stride=kernel.shape[:-2])
    return y.reshape(x.shape[0], -1, kernel.shape[-1])


def attention_weights(query: Array, key: Array) -> Array:
    """`softmax(q . k / sqrt(d))` over the keys: how much each query looks at each key.

    Args:
      query: [N, Q, heads, d], floating.
      key: [N, K, heads, d].

    Returns:
      [N, heads, Q, K], in float32 or wider; sums to 1 over K.

    Raises:
      ShapeError: the shapes do not fit.

    >>> print(attention_weights(jnp.ones((1, 1, 1, 4)), jnp.ones((1, 2, 1, 4)))[0, 0])
    [[0.5 0.5]]

    Source: Vaswani et al. 2017.
    """
    check.floating(query)
    same = query.ndim == key.ndim == 4 and query.shape[0] == key.shape[0]
    if not same or query.shape[2:] != key.shape[2:]:
        raise ShapeError(
            f"queries {describe(query)} and keys {describe(key)} do not fit: expected "
            "[N, Q, heads, d] and [N, K, heads, d]."
        )
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key, preferred_element_type=wide(query.dtype))
    return jax.nn.softmax(scores / math.sqrt(query.shape[-1]), axis=-1)


def attention(query: Array, key: Array, value: Array) -> Array:
    """Scaled dot-product attention: each query gets a mean of the values, weighted by keys.

    `y[n, q, h] = sum_k attention_weights(query, key)[n, h, q, k] value[n, k, h]`

    Args:
      query: [N, Q, heads, d], floating.
      key: [N, K, heads, d].
      value: [N, K, heads, e].

    Returns:
      [N, Q, heads, e], in the dtype of `value`.

    Raises:
      ShapeError: the shapes do not fit.

    >>> value = jnp.asarray([1.0, 3.0])[None, :, None, None]
    >>> print(attention(jnp.ones((1, 1, 1, 4)), jnp.ones((1, 2, 1, 4)), value)[0, :, 0])
    [[2.]]

    Source: Vaswani et al. 2017. No mask and no dropout of the weights: an image is all there.
    """
    weights = attention_weights(query, key)
    if value.ndim != 4 or value.shape[:3] != key.shape[:3]:
        raise ShapeError(
            f"values {describe(value)} do not fit keys {describe(key)}: expected one value for "
            "each key, [N, K, heads, e]."
        )
    return jnp.einsum("nhqk,nkhe->nqhe", weights.astype(value.dtype), value)
