"""What a layer is, and the one place where a layer runs inside another.

A layer is a *description*: a frozen dataclass (hashable, comparable, printable) with
two pure methods, `init` and `apply`. It holds no arrays. Parameters and state are
plain nested dicts that the caller owns. Any class with these two methods is a layer;
there is nothing to inherit from.

Layers that contain layers run them through `call`, and only through it: it enters the
child's path, derives the child's key from its *name* (so that inserting a layer never
re-seeds its siblings), opens a profiler scope, names the layer in any error and passes
the output through the tap. `init_child` does the same for `init`.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp

from jaxcnn.errors import ConfigError, MissingKeyError
from jaxcnn.typing import Array, Key, Params, Spec, State, describe


@runtime_checkable
class Layer(Protocol):
    """The contract of a layer."""

    def init(self, key: Key, x: Spec, /) -> tuple[Params, State]:
        """Makes parameters and state for inputs like `x` (which has a batch axis).

        Must depend on nothing but its arguments. Layers without parameters or state
        return empty dicts.
        """
        ...

    def apply(self, params: Params, state: State, x: Array, ctx: Context, /) -> tuple[Array, State]:
        """Runs the layer: `(output, new state)`, always both.

        When `ctx.train` is False, needs no key, returns `state` unchanged and treats
        every example on its own.
        """
        ...


Tap: TypeAlias = Callable[[str, Layer, Array, Array], Array]
"""`(path, layer, x, y) -> y`: sees the output of every layer and may replace it."""


@dataclasses.dataclass(frozen=True)
class Context:
    """Everything about one call that is not data.

    Attributes:
      train: True while training: dropout drops, batch norm uses the batch.
      key: random key of this layer; None is legal until a layer needs it.
      axis_name: mapped axis over which batch statistics are averaged, or None.
      tap: called with the output of every layer, or None.
      path: names from the root to this layer, joined by "/"; "" at the root.
      mask: [N] bool, False on rows that only pad the batch, or None. Only the caller
        knows which rows those are, and batch statistics must leave them out: that is
        why this field is here.
    """

    train: bool = False
    key: Key | None = None
    axis_name: str | None = None
    tap: Tap | None = None
    path: str = ""
    mask: Array | None = None

    def enter(self, name: str) -> Context:
        """Returns the context of the child `name`."""
        key = None if self.key is None else subkey(self.key, name)
        path = f"{self.path}/{name}" if self.path else name
        return dataclasses.replace(self, key=key, path=path)

    def example_keys(self, why: str, examples: int) -> Key:
        """Returns one key for each of the `examples` rows, [N], or raises as `require_key`.

        They depend on the row's place in the whole batch, not in the part of it that a device
        has: so noise is the same however the batch is divided.
        """
        key = self.require_key(why)
        first = 0 if self.axis_name is None else jax.lax.axis_index(self.axis_name) * examples
        rows = first + jnp.arange(examples, dtype=jnp.int32)
        return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)

    def require_key(self, why: str) -> Key:
        """Returns the key, or raises the error that says which layer lacks it."""
        if self.key is None:
            raise MissingKeyError(
                f"layer {self.path or '(root)'!r} {why} and needs a random key, but got none.\n"
                "Pass `key=jax.random.key(seed)` together with `train=True`."
            )
        return self.key


def call(
    layer: Layer, name: str, params: Params, state: State, x: Array, ctx: Context
) -> tuple[Array, State]:
    """Runs the child `layer` under `name`; the only place where a child runs.

    Args:
      layer: the child.
      name: its name in `params`, `state`, paths, profiles and errors.
      params: the *parent's* parameters, of which `params[name]` are the child's.
      state: the parent's state.
      x: the child's input.
      ctx: the parent's context.

    Returns:
      The child's output and its new state (not yet filed under `name`).
    """
    inner = ctx.enter(name)
    with jax.named_scope(name), located(name, layer, x):
        y, new_state = layer.apply(params.get(name, {}), state.get(name, {}), x, inner)
        if ctx.tap is not None:
            y = ctx.tap(inner.path, layer, x, y)
    return y, new_state


def init_child(layer: Layer, name: str, key: Key, x: Spec) -> tuple[Params, State, Spec]:
    """Initialises the child `layer`: its parameters, its state and its output's spec."""
    with located(name, layer, x):
        params, state = layer.init(subkey(key, name), x)
        return params, state, output_spec(layer, params, state, x)


def output_spec(layer: Layer, params: Params, state: State, x: Spec) -> Spec:
    """Shape and dtype of the layer's output, derived by tracing `apply`."""

    def run(params: Params, state: State, x: Array) -> Array:
        return layer.apply(params, state, x, Context())[0]

    return jax.eval_shape(run, params, state, x)


def subkey(key: Key, name: str) -> Key:
    """Derives the key of the child `name`: the CRC-32 of the name folded into `key`."""
    return jax.random.fold_in(key, jnp.uint32(zlib.crc32(name.encode())))


def prune(children: dict[str, Any]) -> dict[str, Any]:
    """Drops empty entries, so that layers without parameters leave no trace."""
    return {name: child for name, child in children.items() if child}


def check_name(name: str) -> str:
    """Returns `name`, or raises if it cannot be one part of a path."""
    if not name or "/" in name:
        raise ConfigError(f"layer name {name!r} is not allowed: use a non-empty name without '/'.")
    return name


@contextmanager
def located(name: str, layer: Layer, x: Array | Spec) -> Iterator[None]:
    """Adds to any error one note that names the innermost layer by its full path."""
    try:
        yield
    except Exception as error:
        path, where = getattr(error, "jaxcnn_location", ("", f"{layer!r} on {describe(x)}"))
        notes = getattr(error, "__notes__", [])
        if path:
            notes.remove(f"in layer {path}: {where}")
        path = f"{name}/{path}" if path else name
        error.jaxcnn_location = (path, where)  # type: ignore[attr-defined]
        error.add_note(f"in layer {path}: {where}")
        raise


def concise_repr(self: Any) -> str:
    """A dataclass's repr that shows only the fields which differ from their default."""
    shown = []
    for field in dataclasses.fields(self):
        value = getattr(self, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            shown.append(f"{field.name}={value!r}")
    return f"{type(self).__name__}({', '.join(shown)})"
