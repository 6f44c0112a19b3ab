"""Variables of Flax models taken over and given back by path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax.core import meta

from jaxcnn.errors import ShapeError
from jaxcnn.interop.paths import fit, flatten, invert, nest, rename_paths
from jaxcnn.layer import prune
from jaxcnn.typing import Params, State


def params_from_flax(
    variables: Mapping[str, Any],
    like: tuple[Params, State],
    *,
    rename: Mapping[str, str] | None = None,
) -> tuple[Params, State]:
    """Takes over the variables of a Flax model as `(params, state)`, checked leaf by leaf.

    Args:
      variables: `{"params": ..., "batch_stats": ...}`, as linen's `init` returns; for
        an nnx module, what `nnx_variables` does.
      like: what the network's `init` returns, or its shapes (`jax.eval_shape`).
      rename: Flax paths to jaxcnn paths, such as `{"Conv_0": "block1/conv"}`, for all that is
        below them; the longest one that fits a path is used. Other paths stay.

    Raises:
      ShapeError: variables are missing, unexpected, or of another shape or dtype; each is named.
      ConfigError: `rename` names what is not there, or sends two variables to one path.

    >>> import jax, jaxcnn
    >>> from flax import linen
    >>> from jaxcnn import nn
    >>> theirs = linen.Sequential([linen.Dense(2)]).init(jax.random.key(1), jax.numpy.ones((1, 3)))
    >>> like = jaxcnn.init(nn.chain(fc=nn.Dense(2)), jax.random.key(0), (3,))
    >>> params, state = params_from_flax(theirs, like, rename={"layers_0": "fc"})
    >>> bool((params["fc"]["kernel"] == theirs["params"]["layers_0"]["kernel"]).all())
    True
    """
    given = {name: flatten(tree) for name, tree in meta.unbox(dict(variables)).items()}
    if unknown := sorted(name for name in set(given) - {"params", "batch_stats"} if given[name]):
        raise ShapeError(
            f"got the collections {sorted(given)}, expected 'params' and 'batch_stats'.\n"
            f"Take {unknown} out if the network does without."
        )
    given = {name: given.get(name, {}) for name in ("params", "batch_stats")}
    params, state = rename_paths(given, rename or {}).values()
    return (
        fit(params, flatten(like[0]), "params"),
        fit(state, flatten(like[1]), "batch_stats"),
    )


def params_to_flax(
    params: Params,
    state: State,
    *,
    rename: Mapping[str, str] | None = None,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Gives parameters and state as Flax variables: the inverse of `params_from_flax`.

    Args:
      params, state: as jaxcnn holds them.
      rename: the *same* mapping as for `params_from_flax`, Flax paths to jaxcnn paths.
      like: what the Flax model's `init` returns, to check against; None checks nothing.

    Returns:
      `{"params": ..., "batch_stats": ...}`, without a collection that would be empty.

    Raises:
      ShapeError, ConfigError: as in `params_from_flax`.

    >>> params_to_flax({"fc": {"bias": 0.0}}, {}, rename={"Dense_0": "fc"})
    {'params': {'Dense_0': {'bias': 0.0}}}
    """
    given = {"params": flatten(params), "batch_stats": flatten(state)}
    renamed = rename_paths(given, invert(rename or {}))
    if like is None:
        return prune({name: nest(leaves) for name, leaves in renamed.items()})
    wanted = {name: flatten(tree) for name, tree in meta.unbox(dict(like)).items()}
    fitted = {name: fit(renamed[name], wanted.get(name, {}), name) for name in renamed}
    return prune(fitted)
