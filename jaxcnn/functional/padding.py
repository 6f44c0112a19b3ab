"""Padding of the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.functional import check
from jaxcnn.typing import Array, describe

PaddingMode: TypeAlias = Literal["zeros", "reflect", "edge"]
"""Zeros; the image mirrored at its border cell; or the border cell repeated."""


def pad(x: Array, pads: Sequence[tuple[int, int]], *, mode: PaddingMode = "zeros") -> Array:
    """Widens the spatial axes of images.

    Args:
      x: [N, *space, C], floating.
      pads: (low, high) for each spatial axis, none negative.
      mode: "zeros"; "reflect" mirrors at the border cell, which is not repeated
        (`2 1 | 0 1 2`); "edge" repeats the border cell (`0 0 | 0 1 2`).

    Returns:
      [N, *space', C].

    Raises:
      ConfigError: `mode` is unknown or `pads` does not have one pair for each spatial axis.
      ShapeError: "reflect" wider than the input has cells to mirror, or rank or dtype.

    >>> x = jnp.arange(3.0)[None, :, None]
    >>> [pad(x, [(2, 1)], mode=mode)[0, :, 0].tolist() for mode in ("reflect", "edge")]
    [[2.0, 1.0, 0.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]]

    Source: deck C, "zero padding", which names 'constant', 'reflect' and 'replicate'.
    The names here are NumPy's; PyTorch's "replicate" is "edge". `numpy.pad` mirrors again
    and again where "reflect" is too wide; here, as in PyTorch, that is an error.
    """
    rank = check.images(x)
    if mode not in ("zeros", "reflect", "edge"):
        raise ConfigError(
            f"padding_mode={mode!r} is not allowed: use 'zeros', 'reflect' or 'edge'."
        )
    if len(pads) != rank or any(low < 0 or high < 0 for low, high in pads):
        raise ConfigError(
            f"pads={pads!r} is not allowed: expected (low, high), none negative, for each of the "
            f"{rank} spatial axes."
        )
    if mode == "reflect":
        for axis, (size, sides) in enumerate(zip(x.shape[1:-1], pads, strict=True)):
            if max(sides) > size - 1:
                raise ShapeError(
                    f"got {describe(x)}: reflect padding {sides[0]}+{sides[1]} is wider than the "
                    f"input of {size} minus its border cell on spatial axis {axis}.\n"
                    f"Pad at most {size - 1} there, or use padding_mode='edge'."
                )
    numpy_mode = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}[mode]
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), mode=numpy_mode)
