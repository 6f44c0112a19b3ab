"""`flax.linen` modules as layers, and layers as `flax.linen` modules."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen
from flax.core import meta, unfreeze

from jaxcnn.errors import ConfigError, ShapeError
from jaxcnn.interop.flax.call import (
    arguments_of,
    as_output,
    changed_settings,
    check_arguments,
    check_hashable,
    device_key,
    named_arguments,
    promotion_of_flax,
    show,
)
from jaxcnn.interop.paths import flatten
from jaxcnn.layer import Context, Layer, prune, subkey
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class LinenLayer:
    """A `flax.linen` module as a layer. Built by `from_linen`."""

    module: linen.Module
    _: dataclasses.KW_ONLY
    train_flag: str | None = None
    eval_flag: str | None = None
    mask_argument: str | None = None
    streams: tuple[str, ...] = ()
    collections: tuple[str, ...] = ("batch_stats",)

    def __post_init__(self) -> None:
        check_hashable(self.module, "module")
        check_arguments(type(self.module), named_arguments(self))

    def __repr__(self) -> str:
        return f"from_linen({', '.join([show(self.module), *changed_settings(self)])})"

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        # The key goes in as it is: the values are those of `module.init(key, x)`.
        keys = {"params": key, **{name: subkey(key, name) for name in self.streams}}
        with promotion_of_flax():
            made = self.module.init(
                keys, jnp.zeros(x.shape, x.dtype), **arguments_of(self, Context())
            )
        variables = dict(unfreeze(meta.unbox(made)))
        params = variables.pop("params", {})
        if unknown := sorted(set(variables) - set(self.collections)):
            raise ConfigError(
                f"{show(self.module)} makes variables in {unknown}, and collections="
                f"{self.collections!r} does not name them.\nName them to keep them as state."
            )
        return params, prune(variables)

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        variables, arguments = {"params": params, **state}, arguments_of(self, ctx)
        if not ctx.train:
            with promotion_of_flax():
                return as_output(self.module.apply(variables, x, **arguments), x), state
        keys = {}
        if self.streams:
            key = device_key(ctx, f"draws from the streams {self.streams}")
            keys = {name: subkey(key, name) for name in self.streams}
        with promotion_of_flax():
            y, changed = self.module.apply(
                variables, x, rngs=keys, mutable=list(state), **arguments
            )
        new_state = unfreeze(changed)
        if sorted(flatten(new_state)) != sorted(flatten(state)):
            raise ShapeError(
                f"{show(self.module)} changed the structure of its state while training: from "
                f"{sorted(flatten(state))} to {sorted(flatten(new_state))}.\n"
                "Make every variable in initialization."
            )
        return as_output(y, x), new_state


def from_linen(
    module: linen.Module,
    *,
    train_flag: str | None = None,
    eval_flag: str | None = None,
    mask_argument: str | None = None,
    streams: tuple[str, ...] = (),
    collections: tuple[str, ...] = ("batch_stats",),
) -> LinenLayer:
    """Makes a layer of a `flax.linen` module, which is called as `module(x, **arguments)`.

    Args:
      module: an unbound module, with hashable settings.
      train_flag: argument of its call that is True while training, such as "train".
      eval_flag: argument that is True in evaluation, such as "deterministic" or
        "use_running_average".
      mask_argument: argument that takes the rows that count, [N] bool or None. Without it,
        rows that only pad a batch enter the module's batch statistics.
      streams: random streams that the module draws from while training, such as ("dropout",).
      collections: variable collections kept as state.

    Returns:
      The layer. Its `params` are the collection "params", its state `{collection: variables}`;
      so `{"params": params, **state}` are the module's variables again.

    Raises:
      ConfigError: the module has no such argument, is not hashable, or makes variables in a
        collection that is not named.

    Batch statistics are averaged over the mapped axis that the *module* names (`axis_name` of
    `flax.linen.BatchNorm`); the one of the training step does not reach it. What is inside
    the module is one row of the ledger, and taps see its output only.

    >>> import jaxcnn
    >>> from jaxcnn import nn
    >>> norm = from_linen(linen.BatchNorm(momentum=0.9), eval_flag="use_running_average")
    >>> norm
    from_linen(BatchNorm(momentum=0.9), eval_flag='use_running_average')
    >>> params, state = jaxcnn.init(nn.chain(norm=norm, fc=nn.Dense(2)), jax.random.key(0), (3,))
    >>> jax.tree.map(jnp.shape, state)
    {'norm': {'batch_stats': {'mean': (3,), 'var': (3,)}}}
    """
    return LinenLayer(
        module,
        train_flag=train_flag,
        eval_flag=eval_flag,
        mask_argument=mask_argument,
        streams=tuple(streams),
        collections=tuple(collections),
    )


class LinenModule(linen.Module):
    """A jaxcnn layer as a `flax.linen` module. Built by `to_linen`."""

    layer: Layer
    axis_name: str | None = None

    @linen.compact
    def __call__(self, x: Array, train: bool = False, mask: Array | None = None) -> Array:
        if self.is_initializing():
            spec = jax.ShapeDtypeStruct(x.shape, x.dtype)
            params, state = self.layer.init(self.make_rng("params"), spec)
            for collection, tree in (("params", params), ("batch_stats", state)):
                for name, value in tree.items():
                    self.put_variable(collection, name, value)
            # As Flax's own: initialization needs no dropout key and moves no statistics.
            return self.layer.apply(params, state, x, Context())[0]
        key = self.make_rng("dropout") if train and self.has_rng("dropout") else None
        ctx = Context(train=train, key=key, axis_name=self.axis_name, mask=mask)
        variables: Params = unfreeze(dict(self.variables))
        params, state = variables.get("params", {}), variables.get("batch_stats", {})
        y, new_state = self.layer.apply(params, state, x, ctx)
        for name, value in new_state.items() if train else ():
            self.put_variable("batch_stats", name, value)
        return y


def to_linen(layer: Layer, *, axis_name: str | None = None, name: str | None = None) -> LinenModule:
    """Makes a `flax.linen` module of a layer or network, called as `module(x, train=False)`.

    Args:
      layer: any layer.
      axis_name: mapped axis over which batch statistics are averaged.
      name: the module's name inside a Flax model; None lets Flax choose.

    Returns:
      The module. Its variables are `{"params": params, "batch_stats": state}`, by jaxcnn's names.
      While training (`train=True`) it draws from the stream "dropout" and, if it has state,
      needs `mutable=["batch_stats"]`.

    >>> from jaxcnn import nn
    >>> model = to_linen(nn.chain(fc=nn.Dense(2), norm=nn.BatchNorm()))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, variables["params"]["fc"])
    {'bias': (2,), 'kernel': (3, 2)}
    >>> model.apply(variables, jnp.ones((5, 3))).shape
    (5, 2)
    """
    return LinenModule(layer, axis_name=axis_name, name=name)
