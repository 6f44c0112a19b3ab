"""Arguments inside `shard_map`, where a type says over which mesh axes a value differs."""

from __future__ import annotations

import jax
from jax import lax

from jaxcnn.typing import Array


def alike(*arrays: Array) -> tuple[Array, ...]:
    """The arrays, each cast to differ over all mesh axes over which one of them does.

    A kernel that all devices hold alike must get the sum of their gradients. JAX sees to
    that for its own operations; before one with a gradient written by hand it takes this
    cast, whose gradient is that sum. Outside `shard_map` the arrays come back as they are.
    """
    varying = [jax.typeof(array).mat.varying for array in arrays]
    everywhere = frozenset().union(*varying)
    return tuple(
        lax.pcast(array, tuple(sorted(everywhere - own)), to="varying")
        if everywhere - own
        else array
        for array, own in zip(arrays, varying, strict=True)
    )
