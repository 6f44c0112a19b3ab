"""What the network makes of an image before it decides: the features under the logits."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from numpy.typing import NDArray

from jaxcnn.api import apply
from jaxcnn.errors import ConfigError
from jaxcnn.functional import check, flatten
from jaxcnn.inspect.batches import over_batches
from jaxcnn.inspect.select import check_path
from jaxcnn.layer import Layer
from jaxcnn.nn import Dense
from jaxcnn.typing import Array, Params, State


def last_hidden(
    model: Layer,
    params: Params,
    state: State,
    images: Array,
    layer: str | None = None,
    *,
    batch_size: int = 500,
) -> NDArray[np.floating]:
    """Features of images, a row for each, a batch at a time.

    Args:
      model, params, state: as for `jaxcnn.apply`.
      images: [N, H, W, C], floating.
      layer: path of the layer whose output is wanted, flattened; None means the input of the
        last `nn.Dense`, which is what the logits are computed from.
      batch_size: images at a time; the result does not depend on it but for rounding.

    Returns:
      [N, D] on the host. Waits for the device.

    Raises:
      ConfigError: no layer has this path, or there is no `nn.Dense` and no layer is given.
      ShapeError: the images are not floating [N, H, W, C], or there are none.

    Source: Krizhevsky et al. 2012; deck E.
    """

    def run(mask: Array, images: Array) -> Array:
        del mask  # padded rows are cut off below
        return _hidden(model, params, state, images, layer)[0]

    parts = over_batches(run, (images,), batch_size)
    return np.concatenate([np.asarray(hidden)[mask] for hidden, mask in parts])  # host sync


def hidden_and_logits(
    model: Layer, params: Params, state: State, images: Array, layer: str | None
) -> tuple[Array, Array]:
    """The features [N, D] of `last_hidden` and the network's output, in one run."""
    check.images(images, spatial=2)
    outputs: dict[str, Array] = {}
    under: list[Array] = []  # inputs of dense layers

    def keep(path: str, inner: Layer, x: Array, y: Array) -> Array:
        outputs[path] = y
        if isinstance(inner, Dense):
            under.append(x)
        return y

    logits, _ = apply(model, params, state, images, tap=keep)
    if layer is not None:
        check_path(layer, outputs)
        return flatten(outputs[layer]), logits
    if not under:
        raise ConfigError(
            "the network holds no `nn.Dense`, so its last hidden layer is unknown.\n"
            f"Name it: layer= one of {', '.join(outputs)}."
        )
    return flatten(under[-1]), logits


_hidden = partial(jax.jit, static_argnames=("model", "layer"))(hidden_and_logits)
