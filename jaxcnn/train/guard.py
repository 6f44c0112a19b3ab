"""A step is accepted only if all of it is finite: what it computed, and what it would leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.functional.lowering import choice
from jaxcnn.train.state import TrainState
from jaxcnn.typing import Array, Params

Update = Callable[[Params, TrainState], TrainState]
"""`(gradients, old) -> new`: what a step would leave."""

LARGE = 64 << 20
"""Bytes of a train state from which on its update is computed twice; see `_either`."""


def accept(
    update: Update, old: TrainState, counts: dict[str, Array], grads: Params
) -> tuple[TrainState, dict[str, Array]]:
    """`update(grads, old)` and its counts if all of the step is finite, else `old` and counts of 0.

    Looks at the loss, the gradients, and all that the step would leave: parameters, running
    statistics and the optimizer's moments. A gradient may be finite and its square not: Adam
    would then hold infinity, and stand still for good.

    Returns:
      The train state, and the counts with one more, `nonfinite`: 1 if the step was refused.
    """
    new = update(grads, old)
    left = (new.params, new.state, moments(new.opt_state))
    fine = check_of(old)((counts["loss_sum"], grads, left))
    state = _either(fine, update, new, old, grads)
    counts = jax.tree.map(lambda c: jnp.where(fine, c, jnp.zeros_like(c)), counts)
    return state, counts | {"nonfinite": jnp.asarray(~fine, jnp.int32)}


def check_of(state: TrainState) -> Callable[[Any], Array]:
    """How the steps of a train state are looked at on this device."""
    return addable if choice.on_cpu() and _is_small(state) else all_finite


def moments(opt_state: Any) -> list[Array]:
    """The arrays of an optimizer's state.

    Single numbers are left out: some of optax's own start at infinity, such as the best value
    so far.
    """
    return [leaf for leaf in jax.tree.leaves(opt_state) if jnp.ndim(leaf)]


def _either(
    fine: Array, update: Update, new: TrainState, old: TrainState, grads: Params
) -> TrainState:
    """`new`, which is `update(grads, old)`, if `fine`, else `old`.

    On CPU by a branch: a selection for each array is a kernel for each, which for LeNet-5 is a
    fifth of the time of compilation. Other devices would wait for the host at a branch.

    A large state is updated again in the branch. Then `new` need not be held beside `old`: it is
    only looked at, in the pass over memory that computes it, and the branch updates in place. For
    AlexNet that is 370 MB less, and a step costs what it does without the check (1.70 s, instead
    of 1.88; 2 cores). A small one would gain nothing, and compile longer (LeNet-5 by 0.25 s).
    """
    if not choice.on_cpu():
        return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)
    if _is_small(old):
        return jax.lax.cond(fine, lambda new, old: new, lambda new, old: old, new, old)
    return jax.lax.cond(fine, update, lambda grads, old: old, grads, old)


def _is_small(state: TrainState) -> bool:
    return sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(state)) < LARGE


_AT_ONCE = 6  # arrays that one reduction reads
_SMALL = 1 << 13  # entries; below it copying costs less than a reduction's start
_PARTS = 4  # of a large mask; with 16 of them XLA writes down the whole again
_LARGE_MASK = 1 << 20  # entries


def all_finite(tree: Any) -> Array:
    """Whether every entry of every floating leaf is finite: one bool on the device.

    Large arrays of one shape, such as a parameter, its gradient and its moment, are looked at
    together, column by column, as XLA's CPU works on many columns at a time; small ones as one
    array. The number of reductions and the bytes written in between are what this costs.
    """
    small: dict[jnp.dtype, list[Array]] = {}
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for leaf in _floating(tree):
        if leaf.size < _SMALL:
            small.setdefault(leaf.dtype, []).append(leaf.ravel())
        else:
            by_shape.setdefault(leaf.shape, []).append(jnp.isfinite(leaf))
    fine = [jnp.isfinite(jnp.concatenate(leaves)) for leaves in small.values()]
    for shape, masks in by_shape.items():
        columns = tuple(range(len(shape) - 1)) or None
        for start in range(0, len(masks), _AT_ONCE):
            both = _folded(reduce(jnp.logical_and, masks[start : start + _AT_ONCE]))
            fine.append(jnp.all(both, axis=columns).ravel())
    return jnp.all(jnp.concatenate(fine)) if fine else jnp.asarray(True)


def _folded(mask: Array) -> Array:
    """Where a mask is large, on CPU: the conjunction of its parts, a quarter of its size.

    XLA's CPU writes a mask down before it reduces it. AlexNet's take 59 MB, memory that each call
    gets from the system page by page; folded they are computed just the same, and take 15.
    """
    if mask.size < _LARGE_MASK or mask.shape[0] % _PARTS or not choice.on_cpu():
        return mask
    return reduce(jnp.logical_and, jnp.split(mask, _PARTS))


def addable(tree: Any) -> Array:
    """Whether the entries of the floating leaves can be added up: one bool on the device.

    Never true if one is not finite. Not true either if they are so large that their sum is not, in
    float32 some 1e32 each: what trains has long diverged then.

    This is `all_finite` for small trees on CPU, in less time: the compiler adds while it computes
    the rest of the step, where the exact look is a pass of its own at the end (LeNet-5: 2.5 % of a
    step, and this less than 1 %, see docs/faults.md). Large arrays that are not matrices are
    compared entry by entry all the same: a sum would draw the transposition that makes the gradient
    of a convolution's kernel into itself, and the compiler then computes that more slowly (LeNet-5
    by 9 %).
    """
    small: dict[jnp.dtype, list[Array]] = {}
    matrices: list[Array] = []
    others: list[Array] = []
    for leaf in _floating(tree):
        if leaf.size < _SMALL:
            small.setdefault(leaf.dtype, []).append(leaf.ravel())
        else:
            (matrices if leaf.ndim == 2 else others).append(leaf)
    summed = matrices + [jnp.concatenate(leaves) for leaves in small.values()]
    wide = jnp.float64 if any(x.dtype == jnp.float64 for x in summed) else jnp.float32
    sums = [jnp.sum(x, dtype=wide) for x in summed]
    return jnp.isfinite(reduce(jnp.add, sums, wide(0))) & all_finite(others)


def _floating(tree: Any) -> list[Array]:
    leaves = map(jnp.asarray, jax.tree.leaves(tree))
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
