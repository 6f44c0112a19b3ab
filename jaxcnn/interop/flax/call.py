"""What linen and nnx modules have in common when jaxcnn calls them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.layer import Context
from jaxcnn.typing import Array, Key, describe


class CallSettings(Protocol):
    """The settings of a layer that name arguments of the module's call."""

    @property
    def train_flag(self) -> str | None: ...
    @property
    def eval_flag(self) -> str | None: ...
    @property
    def mask_argument(self) -> str | None: ...


def named_arguments(layer: CallSettings) -> dict[str, str]:
    """The arguments that the settings name, by setting."""
    settings = ("train_flag", "eval_flag", "mask_argument")
    given = {setting: getattr(layer, setting) for setting in settings}
    return {setting: name for setting, name in given.items() if name is not None}


def device_key(ctx: Context, why: str) -> Key:
    """The layer's key, another one on each device: a Flax module draws for the rows it sees."""
    key = ctx.require_key(why)
    if ctx.axis_name is None:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(ctx.axis_name))


def arguments_of(layer: CallSettings, ctx: Context) -> dict[str, Any]:
    """What the module's call is given besides its input."""
    values = {"train_flag": ctx.train, "eval_flag": not ctx.train, "mask_argument": ctx.mask}
    return {name: values[setting] for setting, name in named_arguments(layer).items()}


def check_arguments(module: type, named: dict[str, str]) -> None:
    """Checks that the module's call takes the arguments that the settings name."""
    parameters = inspect.signature(module.__call__).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for setting, name in named.items():
        if name not in parameters:
            raise ConfigError(
                f"{setting}={name!r} is not allowed: the call of {module.__name__} takes "
                f"{[p for p in parameters if p != 'self']}."
            )


def check_hashable(value: Any, what: str) -> None:
    """Raises unless `value` is hashable, as every part of a description must be."""
    try:
        hash(value)
    except TypeError as error:
        raise ConfigError(
            f"{what} {show(value)} is not hashable ({error}): a description must be.\n"
            "Use tuples instead of lists."
        ) from error


def as_output(y: Any, x: Array) -> Array:
    """The module's output in the dtype of the input; raises unless it is one floating array."""
    if not isinstance(y, jax.Array):
        raise ShapeError(f"the module returned a {type(y).__name__}, expected one array.")
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise ShapeError(f"the module returned {describe(y)}, expected a floating dtype.")
    return y.astype(x.dtype)


@contextlib.contextmanager
def promotion_of_flax() -> Iterator[None]:
    """Flax mixes dtypes in its modules, which a program with strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def changed_settings(layer: Any) -> list[str]:
    """The keyword-only fields of a layer that differ from their default, for its `repr`."""
    fields = [field for field in dataclasses.fields(layer) if field.kw_only]
    values = {field.name: getattr(layer, field.name) for field in fields}
    return [f"{f.name}={values[f.name]!r}" for f in fields if values[f.name] != f.default]


def show(value: Any) -> str:
    """A short `repr` without addresses: modules by changed settings, functions by name."""
    if isinstance(value, linen.Module):
        fields = [f for f in dataclasses.fields(value) if f.name not in ("parent", "name")]
        values = {f.name: getattr(value, f.name) for f in fields if hasattr(value, f.name)}
        defaults = {f.name: f.default for f in fields}
        shown = [f"{k}={show(v)}" for k, v in values.items() if v != defaults[k]]
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(show, value))}{',' if len(value) == 1 else ''})"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
