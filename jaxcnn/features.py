"""Every intermediate map of a network, by path."""

from __future__ import annotations

from jaxcnn.api import apply
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Params, State


def features(model: Layer, params: Params, state: State, x: Array) -> dict[str, Array]:
    """Runs `model` in evaluation and returns the output of every layer in it.

    Args:
      model, params, state: as for `apply`.
      x: [N, H, W, C], floating.

    Returns:
      `{"conv1": [N, h, w, c], "block1/conv2": ..., ...}` in the order of execution; a
      container comes after the layers it holds. Pure, so it may be jitted: what is not
      used is not computed.
    """
    maps: dict[str, Array] = {}

    def keep(path: str, layer: Layer, x: Array, y: Array) -> Array:
        del layer, x  # only the output is asked for
        maps[path] = y
        return y

    apply(model, params, state, x, tap=keep)
    return maps
