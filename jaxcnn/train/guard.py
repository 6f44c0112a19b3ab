"""A step is accepted only if all of it is finite: what it computed, and what it would leave."""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.functional.lowering import choice
from jaxcnn.train.state import TrainState
from jaxcnn.typing import Array, Params


def accept(
    new: TrainState, old: TrainState, counts: dict[str, Array], grads: Params
) -> tuple[TrainState, dict[str, Array]]:
    """`new` and its counts if all of the step is finite, else `old` and counts of 0.

    Looks at the loss, the gradients, and all that the step would leave: parameters, running
    statistics and the optimizer's moments. A gradient may be finite and its square not: Adam
    would then hold infinity, and stand still for good.

    Returns:
      The train state, and the counts with one more, `nonfinite`: 1 if the step was refused.
    """
    left = (new.params, new.state, moments(new.opt_state))
    fine = all_finite((counts["loss_sum"], grads, left))
    state = _either(fine, new, old)
    counts = jax.tree.map(lambda c: jnp.where(fine, c, jnp.zeros_like(c)), counts)
    return state, counts | {"nonfinite": jnp.asarray(~fine, jnp.int32)}


def moments(opt_state: Any) -> list[Array]:
    """The arrays of an optimizer's state.

    Single numbers are left out: some of optax's own start at infinity, such as the best value
    so far.
    """
    return [leaf for leaf in jax.tree.leaves(opt_state) if jnp.ndim(leaf)]


def _either(fine: Array, new: TrainState, old: TrainState) -> TrainState:
    """`new` if `fine`, else `old`.

    On CPU by a branch: a selection for each array is a kernel for each, which for LeNet-5 is a
    fifth of the time of compilation. Other devices would wait for the host at a branch.
    """
    if choice.on_cpu():
        return jax.lax.cond(fine, lambda new, old: new, lambda new, old: old, new, old)
    return jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)


_AT_ONCE = 6  # arrays that one reduction reads
_SMALL = 1 << 16  # entries; below it copying costs less than a reduction's start


def all_finite(tree: Any) -> Array:
    """Whether every entry of every floating leaf is finite: one bool on the device.

    Small arrays are looked at as one, and large ones of one shape together, such as a parameter,
    its gradient and its moment: for a small network the number of reductions is what costs.
    """
    small: dict[jnp.dtype, list[Array]] = {}
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for leaf in map(jnp.asarray, jax.tree.leaves(tree)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            if leaf.size < _SMALL:
                small.setdefault(leaf.dtype, []).append(leaf.ravel())
            else:
                by_shape.setdefault(leaf.shape, []).append(jnp.isfinite(leaf))
    fine = [jnp.all(jnp.isfinite(jnp.concatenate(leaves))) for leaves in small.values()]
    for masks in by_shape.values():
        for start in range(0, len(masks), _AT_ONCE):
            fine.append(jnp.all(reduce(jnp.logical_and, masks[start : start + _AT_ONCE])))
    return reduce(jnp.logical_and, fine, jnp.asarray(True))
