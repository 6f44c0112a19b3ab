"""Max pooling whose gradient compares with the maximum instead of scattering.

XLA's gradient of a window maximum (`select_and_scatter`) becomes, on CPU, a window reduction
that carries indices and then a scatter, both slow. Here the windows are strided slices, one
for each cell of the window, and one byte a window keeps which slice was largest: the first,
as with XLA, where several are. (A plain `jnp.maximum` of the slices would split ties.)
"""

from __future__ import annotations

import itertools
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn.functional.lowering.geometry import Pairs
from jaxcnn.functional.lowering.patches import overlap
from jaxcnn.typing import Array

Sizes = tuple[int, ...]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: Array, windows: Sizes, strides: Sizes, pads: Pairs) -> Array:
    """See the module; arguments as `reference.max_pool`."""
    # Pairwise: XLA's reduction over a stacked axis is slow on CPU.
    return reduce(jnp.maximum, _slices(_pad(x, pads), windows, strides))


def _forward(
    x: Array, windows: Sizes, strides: Sizes, pads: Pairs
) -> tuple[Array, tuple[Array, Array]]:
    y, which = first_maximum(_slices(_pad(x, pads), windows, strides))
    return y, (which, jnp.zeros((0, *x.shape[1:-1]), bool))  # the sizes of x, without its data


def first_maximum(parts: list[Array]) -> tuple[Array, Array]:
    """The largest entry by place, and which part is the first to hold it, as a byte."""
    best, which = parts[0], jnp.zeros(parts[0].shape, jnp.int8)
    for number, part in enumerate(parts[1:], start=1):
        # The first of equals stays, and so does a NaN, which is never below or equal.
        greater = ~(part <= best) & (best == best)
        best = jnp.where(greater, part, best)
        which = jnp.where(greater, jnp.int8(number), which)
    return best, which


def _backward(
    windows: Sizes, strides: Sizes, pads: Pairs, saved: tuple[Array, Array], g: Array
) -> tuple[Array]:
    which, like = saved
    sizes = like.shape[1:]
    zero = jnp.zeros((), g.dtype)
    cells = [jnp.where(which == n, g, zero) for n in range(int(np.prod(windows)))]
    # The last axis first, so that cells that are neighbours in memory are put together first.
    for axis in reversed(range(len(windows))):
        size = sizes[axis] + sum(pads[axis])
        count = windows[axis]
        cells = [
            overlap(cells[i : i + count], 1 + axis, strides[axis], size)
            for i in range(0, len(cells), count)
        ]
    inner = [slice(low, low + size) for (low, _), size in zip(pads, sizes, strict=True)]
    return (cells[0][(slice(None), *inner)],)


max_pool.defvjp(_forward, _backward)


def _pad(x: Array, pads: Pairs) -> Array:
    if not any(low or high for low, high in pads):
        return x
    lowest = jnp.asarray(-np.inf, x.dtype)
    return lax.pad(x, lowest, ((0, 0, 0), *((*pair, 0) for pair in pads), (0, 0, 0)))


def _slices(padded: Array, windows: Sizes, strides: Sizes) -> list[Array]:
    """For each cell of the window, its value in all windows, [N, *space', C]."""
    spans = [
        (size - w) // s * s + 1
        for size, w, s in zip(padded.shape[1:-1], windows, strides, strict=True)
    ]
    return [
        padded[
            (
                slice(None),
                *(
                    slice(start, start + span, s)
                    for start, span, s in zip(cell, spans, strides, strict=True)
                ),
            )
        ]
        for cell in itertools.product(*map(range, windows))
    ]
