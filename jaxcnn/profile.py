"""Where the time of a compiled program goes, by layer.

XLA notes for every operation the path of the layer that it came from (`jax.named_scope`); the
profiler notes how long every operation ran. This joins the two.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxcnn.errors import JaxcnnError


class ProfileError(JaxcnnError):
    """The profiler gave nothing to read."""


class Profile(NamedTuple):
    """What a profiled call took.

    Attributes:
      trace: a file for https://ui.perfetto.dev, which reads it on this machine.
      seconds: by path of a layer, forward and backward together, of one call, largest first;
        "(no layer)" is what belongs to none: loss, update, counting.
    """

    trace: Path
    seconds: dict[str, float]


def profile(
    run: Callable[[], Any], program: str, layers: Iterable[str], folder: Path, *, calls: int = 3
) -> Profile:
    """Profiles `run`, which calls a compiled program once.

    Args:
      run: makes one call and returns arrays to wait for; called once before, to warm up.
      program: the text of the compiled program, `compiled.as_text()`.
      layers: paths of layers, as in the ledger.
      folder: where the trace goes; made if missing.
      calls: how many calls are averaged.

    Returns:
      A `Profile`. Operations run side by side, so the sum may exceed the wall time.

    Raises:
      ProfileError: the profiler recorded no operation.
    """
    jax.block_until_ready(run())
    with jax.profiler.trace(folder, create_perfetto_trace=True):
        for _ in range(calls):
            jax.block_until_ready(run())
    traces = sorted(folder.rglob("perfetto_trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not traces:
        raise ProfileError(f"{folder}: the profiler left no trace there.")
    events = json.loads(gzip.decompress(traces[-1].read_bytes()))["traceEvents"]
    seconds = by_layer(operation_seconds(events), scopes(program), layers)
    if not seconds:
        raise ProfileError(
            f"{traces[-1]} holds no operation of the program: this platform's profiler does not "
            "name them. The trace itself can be opened."
        )
    return Profile(traces[-1], {path: value / calls for path, value in seconds.items()})


def operation_seconds(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Seconds by operation of the compiled program, over all events of a trace."""
    seconds: dict[str, float] = {}
    for event in events:
        name = (event.get("args") or {}).get("hlo_op")
        if event.get("ph") == "X" and name:
            seconds[name] = seconds.get(name, 0.0) + event["dur"] / 1e6
    return seconds


def scopes(program: str) -> dict[str, str]:
    """By operation of a compiled program, the scope that it came from.

    >>> scopes('  %dot.1 = f32[2] dot(%a, %b), metadata={op_name="jit(step)/jvp(fc)/dot"}')
    {'dot.1': 'jit(step)/jvp(fc)/dot'}
    """
    found = re.finditer(r'%?([\w.\-]+) = [^\n]*?metadata=\{op_name="([^"]*)"', program)
    return {match.group(1): match.group(2) for match in found}


def by_layer(
    seconds: dict[str, float], scope_of: dict[str, str], layers: Iterable[str]
) -> dict[str, float]:
    """Sums the seconds of operations by the innermost layer in their scope, largest first.

    `conv1+act1+pool1`, layers computed as one, is booked on the first.

    >>> by_layer({"a": 1.0, "b": 2.0, "c": 4.0},
    ...          {"a": "jit(step)/jvp(block)/conv1+act1/dot",
    ...           "b": "jit(step)/transpose(jvp(block))/conv1+act1/dot", "c": "jit(step)/add"},
    ...          ["block/conv1", "block/act1"])
    {'(no layer)': 4.0, 'block/conv1': 3.0}
    """
    known = set(layers)
    totals: dict[str, float] = {}
    for name, value in seconds.items():
        path, best = "", "(no layer)"
        for part in _parts(scope_of.get(name, "")):
            longer = f"{path}/{part}" if path else part
            if longer in known or any(layer.startswith(f"{longer}/") for layer in known):
                path = longer
                best = longer if longer in known else best
        totals[best] = totals.get(best, 0.0) + value
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _parts(scope: str) -> list[str]:
    """`jit(step)/transpose(jvp(block1))/conv1+act1/dot` as block1, conv1, dot (and step)."""
    parts = [re.sub(r"^(?:\w+\()+|\)+$", "", part) for part in scope.split("/")]
    return [part.split("+")[0] for part in parts]
