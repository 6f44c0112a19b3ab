"""One network on the devices of this process: `python -m benchmarks.replicas NET` prints JSON.

The parent sets how many virtual CPU devices there are. For each of the three ways the step is
compiled and its text read for what is exchanged; then a few steps are made, and the parameters
compared with those of the same steps on one device.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import CASES, MASKED, RATE, STEPS, WAYS, Case
from benchmarks.collectives import Volume, exchanges, volume
from jaxcnn import losses, models, optim, train
from jaxcnn.layer import Layer
from jaxcnn.parallel.plan import Plan, Program, plan
from jaxcnn.typing import Batch, Params


class Compiled(NamedTuple):
    """A step for the devices of a plan, and arguments as it was compiled for."""

    layout: Plan
    run: Program
    arguments: tuple[Any, ...]  # train state, images, labels, key


def compile_step(
    model: Layer,
    shape: tuple[int, ...],
    batch: int,
    way: Any,
    devices: int,
    *,
    abstract: bool,
    dtype: Any = jnp.float32,
) -> Compiled:
    """Compiles a step of plain SGD, whose last `MASKED` rows do not count.

    Args:
      model: the network.
      shape: of one image.
      batch: rows, all devices together.
      way: of `parallel.plan`.
      devices: how many of the process's devices take part.
      abstract: whether arguments are only shapes.
      dtype: of parameters and images.
    """
    layout = plan(way, batch, jax.devices()[:devices])
    optimizer = optim.optimizer("sgd", RATE)
    step = train.make_train_step(
        model, losses.softmax_cross_entropy, optimizer, axis_name=layout.axis_name
    )

    def advance(ts: Any, images: Any, labels: Any, key: Any) -> Any:
        number, parts = layout.part()
        share = batch // parts
        rows = number * share + jnp.arange(share, dtype=jnp.int32)
        mine = Batch(images[rows], labels[rows], rows < batch - MASKED)
        return step(ts, layout.divide(mine), key)

    def arguments() -> tuple[Any, ...]:
        key = jax.random.key(0)
        ts = train.init_train_state(model, optimizer, key, shape)
        images = jax.random.normal(jax.random.key(1), (batch, *shape), jnp.float32)
        ts, images = jax.tree.map(
            lambda x: x.astype(dtype) if x.dtype == jnp.float32 else x, (ts, images)
        )
        return ts, images, jnp.arange(batch, dtype=jnp.int32) % 10, key

    made = jax.eval_shape(arguments) if abstract else layout.replicate(arguments())
    return Compiled(layout, layout.compile(advance, made, donate=(0,)), made)


def exchanged(compiled: Compiled) -> Volume:
    """What one step exchanges."""
    leaves = jax.tree.leaves(compiled.arguments[0].params)
    kernels, others = ([x.size for x in leaves if (x.ndim > 1) is wide] for wide in (True, False))
    return volume(exchanges(compiled.run.as_text() or ""), kernels, others)


def parameters(compiled: Compiled) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(compiled.arguments[0].params))


def after_steps(compiled: Compiled) -> Params:
    """The parameters after `STEPS` steps, on the host. The arguments are used up."""
    ts, *rest = compiled.arguments
    for _ in range(STEPS):
        ts, _ = compiled.run(ts, *rest)
    return jax.tree.map(np.asarray, ts.params)


def difference(params: Params, wanted: Params) -> float:
    """Largest difference, each array's relative to its own largest entry."""

    def of(a: Any, b: Any) -> float:
        return float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(b))), 1e-30))

    return max(jax.tree.leaves(jax.tree.map(of, params, wanted)))


def study(case: Case) -> dict[str, Any]:
    """All ways of one network on all devices of this process."""
    model = getattr(models, case.model)()
    devices = len(jax.devices())

    def compiled(way: str, devices: int) -> Compiled:
        return compile_step(model, case.input, case.batch, way, devices, abstract=not case.run)

    wanted = after_steps(compiled("jit", 1)) if case.run else None
    found: dict[str, Any] = {}
    for way in WAYS:
        step = compiled(way, devices)
        found[way] = {
            **dataclasses.asdict(exchanged(step)),
            "difference": None if wanted is None else difference(after_steps(step), wanted),
        }
    return {"devices": devices, "parameters": parameters(step), "ways": found}


def main(name: str) -> None:
    """Prints the JSON line."""
    print(json.dumps(study(CASES[name])))


if __name__ == "__main__":
    main(*sys.argv[1:])
