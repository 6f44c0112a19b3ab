"""Questions about trees of parameters, answered by the names of their leaves."""

from __future__ import annotations

import jax

from jaxcnn.typing import Params


def is_kernel(params: Params) -> Params:
    """A tree of bools like `params`: True for kernels, which weight decay and L2 apply to.

    >>> is_kernel({"fc": {"kernel": 1.0, "bias": 0.0}})
    {'fc': {'bias': False, 'kernel': True}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: getattr(path[-1], "key", None) == "kernel", params
    )
