"""A step is accepted only if all of it is finite: what it computed, and what it would leave."""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

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
    state = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)
    counts = jax.tree.map(lambda c: jnp.where(fine, c, jnp.zeros_like(c)), counts)
    return state, counts | {"nonfinite": jnp.asarray(~fine, jnp.int32)}


def moments(opt_state: Any) -> list[Array]:
    """The arrays of an optimizer's state.

    Single numbers are left out: some of optax's own start at infinity, such as the best value
    so far.
    """
    return [leaf for leaf in jax.tree.leaves(opt_state) if jnp.ndim(leaf)]


_AT_ONCE = 6  # arrays that one reduction reads


def all_finite(tree: Any) -> Array:
    """Whether every entry of every floating leaf is finite: one bool on the device.

    Arrays of one shape, such as a parameter, its gradient and its moment, are looked at together:
    for a small network the number of reductions is what costs.
    """
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            by_shape.setdefault(jnp.shape(leaf), []).append(jnp.isfinite(leaf))
    fine = []
    for masks in by_shape.values():
        for start in range(0, len(masks), _AT_ONCE):
            fine.append(jnp.all(reduce(jnp.logical_and, masks[start : start + _AT_ONCE])))
    return jnp.all(jnp.stack(fine))
