"""Spatial arithmetic of sliding windows, shared by convolution and pooling.

Deck E: an input of size I, a window of size F, padding P and stride S give
`(I - F + 2P) / S + 1` outputs. Where the division leaves a rest, part of the input
would silently be ignored; here that is an error unless `rounding="floor"` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from jaxcnn.errors import ConfigError, ShapeError

Size: TypeAlias = int | tuple[int, ...]
"""One number for every spatial axis, or one for each."""

Padding: TypeAlias = Literal["VALID", "SAME"] | int | tuple[int | tuple[int, int], ...]
"""No padding; output size ceil(I / S); P on every side; or one P or (low, high) an axis."""

Rounding: TypeAlias = Literal["exact", "floor"]
"""What to do where the stride does not fit: an error, or leave the rest of the input out."""


def output_size(
    size: int,
    window: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    rounding: Rounding = "exact",
) -> int:
    """Number of windows along one axis: `(I - F + 2P) / S + 1` with F dilated.

    Raises:
      ShapeError: the window is larger than the padded input, or the stride does not fit.

    >>> [output_size(7, 3, stride=s) for s in (1, 2)], output_size(7, 3, stride=3, padding=1)
    ([5, 3], 3)
    >>> output_size(32, 5, padding=2)
    32

    Source: deck E, "spatial arithmetic".
    """
    (pads,) = resolve_padding(
        (size,), (window,), (stride,), (dilation,), padding, rounding=rounding
    )
    extent = dilation * (window - 1) + 1
    return (size + sum(pads) - extent) // stride + 1


def per_axis(value: Size, rank: int, name: str) -> tuple[int, ...]:
    """Spreads one positive number over `rank` axes, or checks that there is one for each."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or any(not isinstance(v, int) or v < 1 for v in values):
        raise ConfigError(
            f"{name}={value!r} is not allowed: expected a positive int or {rank} of them, "
            "one for each spatial axis."
        )
    return values


def resolve_padding(
    sizes: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    *,
    rounding: Rounding = "exact",
) -> tuple[tuple[int, int], ...]:
    """Turns `padding` into (low, high) for each axis and checks that the windows fit.

    "SAME" is XLA's and TensorFlow's: where the total is odd, the extra cell goes to the
    high side. PyTorch and the decks pad symmetrically by a number instead.
    """
    if rounding not in ("exact", "floor"):
        raise ConfigError(f"rounding={rounding!r} is not allowed: use 'exact' or 'floor'.")
    extents = [d * (f - 1) + 1 for f, d in zip(window, dilation, strict=True)]
    pads = spread_padding(sizes, extents, stride, padding)
    for axis, (size, extent, step, (low, high)) in enumerate(
        zip(sizes, extents, stride, pads, strict=True)
    ):
        rest = size + low + high - extent
        if rest < 0:
            raise ShapeError(
                f"window of {extent} (dilation included) is larger than the input of {size} "
                f"with padding {low}+{high} on spatial axis {axis}.\n"
                "Use a smaller window, more padding or larger images."
            )
        if padding != "SAME" and rounding == "exact" and rest % step:
            raise ShapeError(
                f"stride {step} does not fit on spatial axis {axis}: "
                f"({size} - {extent} + {low}+{high}) / {step} + 1 = {rest / step + 1:.3g} "
                "is not a whole number.\n"
                'Change stride or padding, or pass rounding="floor" to leave out the last '
                f"{rest % step} cells."
            )
    return pads


def spread_padding(
    sizes: Sequence[int], extents: Sequence[int], stride: Sequence[int], padding: Padding
) -> tuple[tuple[int, int], ...]:
    """(low, high) for each axis, whether or not the windows fit. Only "SAME" asks `sizes`."""
    if padding == "VALID":
        return ((0, 0),) * len(sizes)
    if padding == "SAME":
        totals = [
            max((math.ceil(size / step) - 1) * step + extent - size, 0)
            for size, extent, step in zip(sizes, extents, stride, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    each = (padding,) * len(sizes) if isinstance(padding, int) else tuple(padding)
    pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in each]
    if len(pairs) == len(sizes) and all(_is_pair(pair) for pair in pairs):
        return tuple((low, high) for low, high in pairs)
    raise ConfigError(
        f"padding={padding!r} is not allowed: use 'VALID', 'SAME', a number, or for each of the "
        f"{len(sizes)} spatial axes a number or a pair (low, high), none negative."
    )


def _is_pair(pair: Sequence[Any]) -> bool:
    return len(pair) == 2 and all(isinstance(p, int) and p >= 0 for p in pair)
