"""The two combinators that build networks: one after another, and side by side.

The keyword names are the paths of the parameters, the profiler's scopes, the rows of the
ledger and the words in error messages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.layer import Context, Layer, call, check_name, init_child, prune
from jaxcnn.nn.fusion import fuse
from jaxcnn.typing import Array, Key, Params, Spec, State, describe


@dataclasses.dataclass(frozen=True)
class Chain:
    """Layers one after another. Built by `chain`."""

    layers: tuple[tuple[str, Layer], ...]

    def __repr__(self) -> str:
        return f"chain({_show(self.layers)})"

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        params, state = {}, {}
        for name, layer in self.layers:
            params[name], state[name], x = init_child(layer, name, key, x)
        return prune(params), prune(state)

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        new_state = {}
        rest = self.layers
        while rest:
            if (fused := fuse(rest, params, x, ctx)) is not None:
                x, rest = fused.y, rest[fused.layers :]
                continue
            (name, layer), rest = rest[0], rest[1:]
            x, new_state[name] = call(layer, name, params, state, x, ctx)
        return x, prune(new_state)


@dataclasses.dataclass(frozen=True)
class Branch:
    """Layers side by side on the same input, then joined. Built by `branch`."""

    join: Callable[..., Array]
    paths: tuple[tuple[str, Layer], ...]

    def __repr__(self) -> str:
        return f"branch({getattr(self.join, '__name__', 'join')}, {_show(self.paths)})"

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        params, state = {}, {}
        for name, layer in self.paths:
            params[name], state[name], _ = init_child(layer, name, key, x)
        return prune(params), prune(state)

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        outputs, new_state = [], {}
        for name, layer in self.paths:
            y, new_state[name] = call(layer, name, params, state, x, ctx)
            outputs.append(y)
        return self.join(*outputs), prune(new_state)


def chain(**layers: Layer) -> Chain:
    """Builds a network of layers that run one after another.

    >>> from jaxcnn import nn
    >>> nn.chain(conv=nn.Conv(6, 5), act=nn.relu)
    chain(conv=Conv(features=6, kernel=5), act=relu)
    """
    return Chain(_checked(layers))


def branch(join: Callable[..., Array], /, **paths: Layer) -> Branch:
    """Builds a network of layers that all see the same input and are joined.

    Args:
      join: function of all outputs, in the order of `paths`: `add`, `concat` or your own
        (module-level, so that equal networks compare equal).
      **paths: the layers by name.

    >>> from jaxcnn import nn
    >>> residual = nn.branch(nn.add, body=nn.Conv(8, 3, padding=1), skip=nn.identity)
    """
    return Branch(join, _checked(paths))


def add(*xs: Array) -> Array:
    """Sums arrays of one shape: the join of a residual block.

    Raises:
      ShapeError: the shapes differ (nothing is broadcast).
    """
    if any(x.shape != xs[0].shape for x in xs):
        shapes = ", ".join(describe(x) for x in xs)
        raise ShapeError(
            f"cannot add branches of different shapes: {shapes}.\n"
            "Give the skip path a 1x1 convolution with the same stride and features."
        )
    return sum(xs[1:], xs[0])


def concat(*xs: Array) -> Array:
    """Joins arrays along the channels: the join of an Inception block.

    Raises:
      ShapeError: the shapes differ in more than the channels.
    """
    if any(x.shape[:-1] != xs[0].shape[:-1] for x in xs):
        shapes = ", ".join(describe(x) for x in xs)
        raise ShapeError(f"cannot concatenate branches of different sizes: {shapes}.")
    return jnp.concatenate(xs, axis=-1)


def _checked(layers: dict[str, Layer]) -> tuple[tuple[str, Layer], ...]:
    for name, layer in layers.items():
        check_name(name)
        # They have methods `init` and `apply` as well, with other arguments.
        if any(base.__module__.startswith("flax.") for base in type(layer).__mro__):
            raise ConfigError(
                f"{name}={type(layer).__name__} is a Flax module: wrap it, "
                "`interop.flax.from_linen(module)`."
            )
        if not isinstance(layer, Layer) or isinstance(layer, type):
            raise ConfigError(
                f"{name}={layer!r} is not a layer: expected a value with methods `init` and "
                "`apply`, such as `nn.Conv(6, 5)` or `nn.relu`."
            )
    if not layers:
        raise ConfigError("a network needs at least one layer; got none.")
    return tuple(layers.items())


def _show(layers: tuple[tuple[str, Layer], ...]) -> str:
    return ", ".join(f"{name}={layer!r}" for name, layer in layers)
