"""Windows of an image as columns of a matrix, and back. Inside: [C, H, W, N], examples last.

With examples last, every window is a set of whole rows: taking patches apart and putting
them together moves long runs of memory, and in a sequential network the changes of layout
around it cost nothing (XLA picks the layout of what lies between).
"""

from __future__ import annotations

from functools import reduce

import jax.numpy as jnp
from jax import lax
from jax.lax import optimization_barrier as barrier

from jaxcnn.functional.lowering.geometry import Pairs
from jaxcnn.typing import Array

Sizes = tuple[int, ...]


def examples_last(x: Array) -> Array:
    """[N, H, W, C] and [C, H, W, N] into each other."""
    return x.transpose(3, 1, 2, 0)


def zero_pad(x: Array, pads: Pairs) -> Array:
    """Pads height and width of [C, H, W, N]."""
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def columns(x: Array, window: Sizes, strides: Sizes, out: Sizes) -> Array:
    """All windows of padded `x` [C, H, W, N]: [kh, C, kw, oh, ow, N].

    First along the width, then along the height: two stacks of kw and kh slices move about
    half as much as one stack of kh kw.
    """
    (kh, kw), (down, right) = window, strides
    height, width = ((n - 1) * s + 1 for n, s in zip(out, strides, strict=True))
    across = barrier(jnp.stack([x[:, :, j : j + width : right] for j in range(kw)], 1))
    return jnp.stack([across[:, :, i : i + height : down] for i in range(kh)], 0)


def sum_columns(d: Array, strides: Sizes, size: Sizes) -> Array:
    """The adjoint of `columns`: adds [kh, C, kw, oh, ow, N] up into [C, H, W, N]."""
    kh, _, kw, _, _, _ = d.shape
    rows = barrier(overlap([d[i] for i in range(kh)], 2, strides[0], size[0]))
    return overlap([rows[:, j] for j in range(kw)], 2, strides[1], size[1])


def overlap(parts: list[Array], axis: int, stride: int, size: int) -> Array:
    """Sums `parts[i]`, whose entry t along `axis` belongs at i + stride t of `size` entries."""
    count = parts[0].shape[axis]
    if stride == 1:
        placed = [_placed(part, axis, i, size - i - count) for i, part in enumerate(parts)]
        return reduce(jnp.add, placed)
    # Parts i .. i + stride - 1 interleave to a run without gaps; the runs overlap.
    shape = list(parts[0].shape)
    shape[axis] = count * stride
    runs = []
    for start in range(0, len(parts), stride):
        group = parts[start : start + stride]
        group += [jnp.zeros_like(parts[0])] * (stride - len(group))
        run = jnp.stack(group, axis + 1).reshape(shape)
        run = lax.slice_in_dim(run, 0, min(count * stride, size - start), axis=axis)
        runs.append(_placed(run, axis, start, size - start - run.shape[axis]))
    return reduce(jnp.add, runs)


def _placed(x: Array, axis: int, before: int, after: int) -> Array:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (before, after)
    return jnp.pad(x, pads)
