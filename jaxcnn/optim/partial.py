"""Training a part of a network while the rest stays as it is: fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import optax

from jaxcnn.errors import ConfigError
from jaxcnn.typing import Params

_TRAINED, _KEPT = "trained", "kept"


def train_only(
    optimizer: optax.GradientTransformation, paths: Sequence[str]
) -> optax.GradientTransformation:
    """The optimizer for the parameters below `paths`; all others stay as they are, to the bit.

    They get no weight decay, take no part in the gradient's norm, and need no moments. Running
    statistics are state, not parameters: batch norm in a part that is kept still follows the
    new data.

    Args:
      optimizer: from `optim.optimizer`, or any optax chain.
      paths: of layers or parameters, such as `("logits", "block3_1/body/conv1")`.

    Raises:
      ConfigError: there is no path, or, at `init`, no parameter below one of them.

    >>> import jax.numpy as jnp
    >>> from jaxcnn.optim import optimizer
    >>> params = {"conv": {"kernel": jnp.ones(1)}, "logits": {"bias": jnp.ones(1)}}
    >>> head = train_only(optimizer("sgd", 0.5), ("logits",))
    >>> updates, opt_state = head.update(params, head.init(params), params)
    >>> print(updates["conv"]["kernel"], updates["logits"]["bias"])
    [0.] [-0.5]

    Source: decks B and E: a frozen feature extractor with a new head, unfreezing some or all.
    """
    if not paths or isinstance(paths, str):
        raise ConfigError(f"paths={paths!r} is not allowed: expected one path or more, in a tuple.")

    def label(params: Params) -> Any:
        used = set()

        def one(path: Any, leaf: Any) -> str:
            del leaf
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            inside = [p for p in paths if name == p or name.startswith(p + "/")]
            used.update(inside)
            return _TRAINED if inside else _KEPT

        labels = jax.tree_util.tree_map_with_path(one, params)
        for path in paths:
            if path not in used:
                raise ConfigError(
                    f"there are no parameters at {path!r}: the network has {', '.join(params)}."
                )
        return labels

    return optax.partition({_TRAINED: optimizer, _KEPT: optax.set_to_zero()}, label)
