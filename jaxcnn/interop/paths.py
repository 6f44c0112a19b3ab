"""Trees of arrays by path: flattened, renamed, and checked against what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.typing import Array, describe

SHOWN = 20  # problems listed in one message


def flatten(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Leaves by path.

    >>> flatten({"fc": {"kernel": 1, "bias": 2}})
    {'fc/kernel': 1, 'fc/bias': 2}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{path}": leaf for path, leaf in flatten(value).items()}
        else:
            flat[str(name)] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of leaves by path: the inverse of `flatten`.

    >>> nest({"fc/kernel": 1, "fc/bias": 2})
    {'fc': {'kernel': 1, 'bias': 2}}
    """
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        inner = tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = leaf
    return tree


def rename_paths(
    collections: Mapping[str, Mapping[str, Any]], rename: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Moves the leaves below each path of `rename`, in every collection.

    The longest path that fits a leaf is used; leaves that none fits stay.

    Raises:
      ConfigError: a path of `rename` fits nothing, or two leaves come to one path.

    >>> rename_paths({"params": {"Conv_0/kernel": 1}}, {"Conv_0": "block/conv"})
    {'params': {'block/conv/kernel': 1}}
    """
    used = set()
    renamed: dict[str, dict[str, Any]] = {}
    for collection, leaves in collections.items():
        moved: dict[str, Any] = {}
        for path, leaf in leaves.items():
            parts = path.split("/")
            prefixes = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
            old = next((prefix for prefix in prefixes if prefix in rename), None)
            new = path
            if old is not None:
                used.add(old)
                new = rename[old] + path.removeprefix(old)
            if new in moved:
                raise ConfigError(
                    f"rename={dict(rename)!r} is not allowed: it sends two variables of "
                    f"{collection!r} to the path {new!r}."
                )
            moved[new] = leaf
        renamed[collection] = moved
    if unused := sorted(set(rename) - used):
        paths = sorted({path for leaves in collections.values() for path in leaves})
        raise ConfigError(f"rename names {unused}, and there are only the paths {paths}.")
    return renamed


def invert(rename: Mapping[str, str]) -> dict[str, str]:
    """The mapping backwards.

    Raises:
      ConfigError: two paths have the same new path.
    """
    backwards = {new: old for old, new in rename.items()}
    if len(backwards) < len(rename):
        raise ConfigError(
            f"rename={dict(rename)!r} is not allowed: two paths have the same new path, so there "
            "is no way back."
        )
    return backwards


def fit(given: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The given leaves, nested, in the order of the wanted ones.

    Args:
      given: arrays by path.
      wanted: arrays or specs by path.
      what: name of the collection, for messages.

    Raises:
      ShapeError: leaves are missing, unexpected, or of another shape or dtype.
    """
    problems = [f"missing: {path} {describe(wanted[path])}" for path in wanted.keys() - given]
    problems += [f"unexpected: {path} {describe(given[path])}" for path in given.keys() - wanted]
    for path in wanted.keys() & given.keys():
        if describe(given[path]) != describe(wanted[path]):
            problems.append(
                f"different: {path} is {describe(given[path])}, expected {describe(wanted[path])}"
            )
    if problems:
        problems = sorted(problems)  # different, missing, unexpected
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise ShapeError(
            "\n".join([f"the variables in {what!r} do not fit:", *problems[:SHOWN], *more])
            + "\nGive different names with `rename`; cast a different dtype first."
        )
    arrays: dict[str, Array] = {path: jnp.asarray(given[path]) for path in wanted}
    return nest(arrays)
