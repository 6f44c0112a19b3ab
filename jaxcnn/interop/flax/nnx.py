"""`flax.nnx` modules as layers, and their variables by path.

Apart from the rest because `flax.nnx` of Flax 0.12.8 cannot be imported on JAX 0.11 (0.12.12 can),
where its `flax.linen` works.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

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
from jaxcnn.interop.paths import fit, flatten, nest
from jaxcnn.layer import Context, prune, subkey
from jaxcnn.typing import Array, Key, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class NnxLayer:
    """A `flax.nnx` module as a layer. Built by `from_nnx`."""

    make: Callable[..., nnx.Module]
    args: tuple[Any, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    _: dataclasses.KW_ONLY
    train_flag: str | None = None
    eval_flag: str | None = None
    mask_argument: str | None = None

    def __post_init__(self) -> None:
        check_hashable((self.make, self.args, self.settings), "make and its arguments")

    def __repr__(self) -> str:
        given = [f"{name}={show(value)}" for name, value in self.settings]
        shown = [show(self.make), *map(show, self.args), *given, *changed_settings(self)]
        return f"from_nnx({', '.join(shown)})"

    def build(self, key: Key | int) -> nnx.Module:
        """Makes the module, with `rngs=nnx.Rngs(key)`."""
        return self.make(*self.args, **dict(self.settings), rngs=nnx.Rngs(key))

    def init(self, key: Key, x: Spec) -> tuple[Params, State]:
        del x  # an nnx module knows its sizes
        with promotion_of_flax():
            module = self.build(key)
        check_arguments(type(module), named_arguments(self))
        kept = kept_variables(module)
        return nest(kept[nnx.Param]), nest(kept[nnx.Variable])

    def apply(self, params: Params, state: State, x: Array, ctx: Context) -> tuple[Array, State]:
        graph, leaves = _graph(self, ctx.train)
        key = None
        if ctx.train and any(isinstance(leaf, nnx.RngKey) for _, leaf in leaves):
            key = device_key(ctx, "holds random streams")
        sources = {"params": flatten(params), "state": flatten(state)}
        filled = [(path, leaf.copy(_value(path, leaf, sources, key))) for path, leaf in leaves]
        module = nnx.merge(graph, nnx.from_flat_state(filled))
        with promotion_of_flax():
            y = as_output(module(x, **arguments_of(self, ctx)), x)
        if not ctx.train:
            return y, state
        after = kept_variables(module)[nnx.Variable]
        # A variable that the module made during the call is no state.
        return y, nest({path: after[path] for path in sources["state"]})


def from_nnx(
    make: Callable[..., nnx.Module],
    /,
    *args: Any,
    train_flag: str | None = None,
    eval_flag: str | None = None,
    mask_argument: str | None = None,
    **settings: Any,
) -> NnxLayer:
    """Makes a layer of the `flax.nnx` module that `make(*args, **settings, rngs=rngs)` returns.

    Args:
      make: a class of modules or a module-level function that takes `rngs`.
      *args, **settings: its other arguments, hashable.
      train_flag, eval_flag, mask_argument: as in `from_linen`; rarely needed, because
        the module is also put into training and evaluation by `nnx`'s own `train()` and `eval()`.

    Returns:
      The layer. Variables of type `nnx.Param` are its `params`, nested dicts by attribute; all
      others, such as `nnx.BatchStat`, its state. Random streams are neither: while training
      each starts anew from the layer's key and the stream's path.

    Raises:
      ConfigError: an argument is not hashable, or the module's call has no such flag.

    Batch statistics and ledger: as in `from_linen`.

    >>> import jaxcnn
    >>> layer = from_nnx(nnx.Linear, 3, 2, use_bias=False)
    >>> layer
    from_nnx(Linear, 3, 2, use_bias=False)
    >>> jax.tree.map(jnp.shape, jaxcnn.init(layer, jax.random.key(0), (3,)))
    ({'kernel': (3, 2)}, {})
    """
    return NnxLayer(
        make,
        args,
        tuple(sorted(settings.items())),
        train_flag=train_flag,
        eval_flag=eval_flag,
        mask_argument=mask_argument,
    )


def nnx_variables(module: nnx.Module) -> dict[str, Any]:
    """What an `nnx` module holds, as linen would: `{"params": ..., "batch_stats": ...}`.

    Keys are attributes, and for lists the numbers "0", "1", ... Random streams are left out.

    >>> list(nnx_variables(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))["params"])
    ['bias', 'kernel']
    """
    kept = kept_variables(module)
    return prune({"params": nest(kept[nnx.Param]), "batch_stats": nest(kept[nnx.Variable])})


def set_nnx_variables(module: nnx.Module, variables: Mapping[str, Any]) -> None:
    """Writes variables, as `params_to_flax` gives them, into an `nnx` module in place.

    Raises:
      ShapeError: they do not fit the module; each that does not is named.
    """
    held = nnx_variables(module)
    new: dict[type, dict[str, Array]] = {}
    for kind, name in ((nnx.Param, "params"), (nnx.Variable, "batch_stats")):
        tree = fit(flatten(variables.get(name, {})), flatten(held.get(name, {})), name)
        new[kind] = flatten(tree)
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        if not isinstance(leaf, nnx.RngState):
            leaf.set_value(new[kind_of(leaf)][joined(path)])


@functools.lru_cache(maxsize=256)
def _graph(layer: NnxLayer, train: bool) -> tuple[Any, list[tuple[tuple[Any, ...], Any]]]:
    """The static part of the module in one mode, and its variables without values."""
    with promotion_of_flax():
        module = nnx.eval_shape(lambda: layer.build(0))
    check_arguments(type(module), named_arguments(layer))
    if train:
        module.train()
    else:
        module.eval()
    graph, variables = nnx.split(module)
    return graph, list(nnx.to_flat_state(variables))


def kept_variables(module: nnx.Module) -> dict[type, dict[str, Array]]:
    """Values by path of the parameters, under `nnx.Param`, and of what is state."""
    kept: dict[type, dict[str, Array]] = {nnx.Param: {}, nnx.Variable: {}}
    for path, leaf in nnx.to_flat_state(nnx.state(module)):
        if not isinstance(leaf, nnx.Variable):
            raise ConfigError(
                f"{type(module).__name__} holds an array at {joined(path)!r} that is no "
                "variable.\n"
                "Wrap it: `nnx.Param(array)` if it is trained, `nnx.Variable(array)` if not."
            )
        if not isinstance(leaf, nnx.RngState):
            kept[kind_of(leaf)][joined(path)] = leaf.get_value()
    return kept


def kind_of(leaf: nnx.Variable[Any]) -> type:
    """`nnx.Param` for parameters, `nnx.Variable` for what is state."""
    return nnx.Param if isinstance(leaf, nnx.Param) else nnx.Variable


def _value(
    path: tuple[Any, ...], leaf: Any, sources: dict[str, dict[str, Array]], key: Key | None
) -> Array:
    """The value of one variable for one call."""
    name = joined(path)
    if isinstance(leaf, nnx.RngKey):
        # In evaluation nothing is drawn, but the module must be whole.
        own = subkey(jax.random.key(0) if key is None else key, name)
        return jax.random.split(own, leaf.shape) if leaf.shape else own
    if isinstance(leaf, nnx.RngState):
        return jnp.zeros(leaf.shape, leaf.dtype)
    where = "params" if isinstance(leaf, nnx.Param) else "state"
    if name not in sources[where]:
        raise ShapeError(f"{where} lack {name!r}; they hold {sorted(sources[where])}.")
    return sources[where][name]


def joined(path: tuple[Any, ...]) -> str:
    """The path of a variable as one string."""
    return "/".join(map(str, path))
