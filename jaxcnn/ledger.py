"""The ledger of a network: output shape, parameters and multiply-adds of every layer.

Nothing in it is declared by layers. Shapes come from tracing the network with abstract
values, parameters from `init`'s, multiply-adds from the traced program of each layer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.extend.core

from jaxcnn.api import apply, input_spec
from jaxcnn.functional.lowering import choice
from jaxcnn.functional.lowering.choice import lowering
from jaxcnn.layer import Context, Layer
from jaxcnn.typing import Array, Params, Spec, State


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer: what it owns and computes itself, layers inside it left out."""

    path: str
    layer: Layer
    output: tuple[int, ...]  # without the batch axis
    params: int
    macs: int
    lowering: str = ""  # how it is computed here, such as "canonical", or with which layer


@dataclasses.dataclass(frozen=True)
class Ledger:
    """Rows in the order of execution. `str()` is the table."""

    input: tuple[int, ...]  # without the batch axis
    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Trained parameters of the whole network."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products, one example, forward."""
        return sum(row.macs for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "computed by")
        body = [
            (
                row.path,
                _kind(row.layer),
                _size(row.output),
                _number(row.params),
                _number(row.macs),
                row.lowering,
            )
            for row in self.rows
        ]
        total = ("total", "", "", f"{self.params:,}", f"{self.macs:,}", "")
        cells = [head, ("input", "", _size(self.input), "", "", ""), *body, total]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        lines = [
            "  ".join(
                cell.rjust(width) if i in (3, 4) else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def ledger(model: Layer, x: Array | Spec | Sequence[int]) -> Ledger:
    """Counts a network without running it or allocating anything.

    Args:
      model: a layer or network.
      x: as for `init`, typically the shape of one image.

    Returns:
      A `Ledger` with a row for each layer that holds no others or owns parameters or
      multiply-adds itself. One multiply-add is two floating-point operations. Padded cells
      count, as in hand counts; pooling, activations and normalization do not. Counted is the
      convolution as it is defined, whichever way it is computed here (`functional.lowering`);
      that way, for this platform, stands in the last column.

    Raises:
      JaxcnnError: a layer does not fit its input; a note names the layer.
    """
    spec = input_spec(x)
    spec = jax.ShapeDtypeStruct((1, *spec.shape[1:]), spec.dtype)
    # A constant key would be traced away; its shape is all that matters here.
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(lambda key: model.init(key, spec), key)
    calls: list[tuple[str, Layer, Spec, Spec]] = []

    def note(path: str, layer: Layer, x: Array, y: Array) -> Array:
        calls.append((path, layer, _abstract(x), _abstract(y)))
        return y

    def run(params: Params, state: State, x: Array) -> Array:
        return apply(model, params, state, x, tap=note)[0]

    output = jax.eval_shape(run, params, state, spec)
    calls.append(("", model, spec, output))

    ways = _ways(calls, params, state)
    own_macs: dict[str, int] = {}
    own_params: dict[str, int] = {}
    paths = [path for path, *_ in calls]
    for path, layer, x_spec, _ in calls:
        here = _at(params, path)
        own_macs[path] = own_macs.get(path, 0) + _macs(layer, here, _at(state, path), x_spec)
        own_params[path] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(here))
    totals = dict(own_macs), dict(own_params)
    for path in dict.fromkeys(paths):
        if path:  # what is inside a container is not its own
            parent = path.rpartition("/")[0]
            own_macs[parent] -= totals[0][path]
            own_params[parent] -= totals[1][path]
    parents = {path.rpartition("/")[0] for path in paths if path}
    rows = {}
    for path, layer, _, y in calls:
        if path not in parents or own_params[path] or own_macs[path]:
            rows[path] = Row(
                path or "(root)",
                layer,
                tuple(y.shape[1:]),
                own_params[path],
                own_macs[path],
                ways.get(path, ""),
            )
    return Ledger(tuple(spec.shape[1:]), tuple(rows.values()))


def _abstract(x: Array) -> Spec:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _at(tree: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("/") if path else ():
        tree = tree.get(name, {})
    return tree


def _macs(layer: Layer, params: Params, state: State, x: Spec) -> int:
    def run(params: Params, state: State, x: Array) -> Array:
        return layer.apply(params, state, x, Context())[0]

    with lowering("xla"):  # the operations as they are defined
        return count_macs(jax.make_jaxpr(run)(params, state, x).jaxpr)


def _ways(
    calls: list[tuple[str, Layer, Spec, Spec]], params: Params, state: State
) -> dict[str, str]:
    """By path, how a layer is computed: noted while it is traced."""

    def trace(path: str, layer: Layer, x: Spec) -> list[choice.Choice]:
        def run(params: Params, state: State, x: Array) -> Array:
            return layer.apply(params, state, x, Context())[0]

        with choice.recorded() as choices:
            jax.eval_shape(run, _at(params, path), _at(state, path), x)
        return choices

    containers = {path.rpartition("/")[0] for path, *_ in calls if path}
    ways = {}
    for path, layer, x, _ in calls:
        if path not in containers:
            names = [each.lowering for each in trace(path, layer, x)]
            ways[path] = ", ".join(dict.fromkeys(names))
    root, model, x, _ = calls[-1]
    for fused in trace(root, model, x):
        for path in fused.layers:
            first = fused.layers[0]
            ways[path] = fused.lowering if path == first else f"with {first.rpartition('/')[2]}"
    return ways


def count_macs(jaxpr: Any) -> int:
    """Multiply-adds of the convolutions and matrix products in a traced program.

    The body of a scan counts once for each pass, of a conditional the dearest branch, and
    of a `while` loop, whose passes are unknown, once.
    """
    total = 0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            out_features = kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel) // out_features
        elif name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            left = eqn.invars[0].aval.shape
            total += math.prod(eqn.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        elif name == "cond":
            total += max(count_macs(branch.jaxpr) for branch in eqn.params["branches"])
        else:
            inner = sum(count_macs(sub) for sub in _inner_programs(eqn.params))
            total += inner * eqn.params.get("length", 1) if name == "scan" else inner
    return total


def _inner_programs(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        if isinstance(value, jax.extend.core.ClosedJaxpr):
            found.append(value.jaxpr)
        elif isinstance(value, jax.extend.core.Jaxpr):
            found.append(value)
    return found


def _kind(layer: Layer) -> str:
    return type(layer).__name__ if type(layer).__name__ != "Pointwise" else repr(layer)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"
