"""`init` and `apply`: the two basic readings of a description."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError
from jaxcnn.layer import Context, Layer, Tap
from jaxcnn.typing import Array, Key, Params, Spec, State


def init(model: Layer, key: Key, x: Array | Spec | Sequence[int]) -> tuple[Params, State]:
    """Makes the parameters and the state of `model`.

    Args:
      model: a layer or network.
      key: `jax.random.key(seed)`. Each layer's key follows from the names on its path, so
        adding or removing a layer leaves the others' initial values as they were.
      x: what the network will be applied to: an array or `jax.ShapeDtypeStruct` with a batch
        axis, or the shape of one image, `(28, 28, 1)`.

    Returns:
      `(params, state)`, nested dicts by layer name. Parameters are float32.

    Raises:
      JaxcnnError: a layer does not fit its input; a note names the layer.

    >>> from jaxcnn import nn
    >>> params, state = init(nn.chain(fc=nn.Dense(2)), jax.random.key(0), (3,))
    >>> jax.tree.map(jnp.shape, params)
    {'fc': {'bias': (2,), 'kernel': (3, 2)}}
    """
    if not isinstance(key, jax.Array):
        raise ConfigError(f"key={key!r} is not a random key: pass `jax.random.key(seed)`.")
    spec = input_spec(x)

    def run(key: Key) -> tuple[Params, State]:
        return model.init(key, spec)

    # One compiled call instead of one for every random draw.
    return jax.jit(run)(key)


def apply(
    model: Layer,
    params: Params,
    state: State,
    x: Array,
    *,
    train: bool = False,
    key: Key | None = None,
    axis_name: str | None = None,
    mask: Array | None = None,
    tap: Tap | None = None,
) -> tuple[Array, State]:
    """Runs `model`: a pure function of its arguments.

    Args:
      model: the description that `params` and `state` were made for.
      params, state: as `init` gave them or training left them.
      x: [N, H, W, C], floating.
      train: whether dropout drops and batch norm uses the batch.
      key: random key; needed if `train` and a layer is random.
      axis_name: mapped axis that shares batch statistics (`shard_map`, `pmap`).
      mask: [N] bool, False on rows that only pad the batch; only batch norm looks at it.
      tap: `(path, layer, x, y) -> y`, called with each layer's output; may replace it.

    Returns:
      `(output, new_state)`, always both. Without `train`, `new_state` equals `state`.

    Raises:
      JaxcnnError: a layer does not fit its input or lacks a key; a note names the layer.
    """
    ctx = Context(train=train, key=key, axis_name=axis_name, tap=tap, mask=mask)
    return model.apply(params, state, x, ctx)


def input_spec(x: Array | Spec | Sequence[int]) -> Spec:
    """The shape and dtype that `x` stands for; the shape of one image gets a batch of 1."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)
    if isinstance(x, Sequence) and x and all(isinstance(n, int) and n > 0 for n in x):
        return jax.ShapeDtypeStruct((1, *x), jnp.float32)
    raise ConfigError(
        f"x={x!r} is not an input: pass an array or `jax.ShapeDtypeStruct` with a batch axis, "
        "or the shape of one image such as (28, 28, 1)."
    )
