"""What it costs that a step is accepted only if it is finite: `python -m benchmarks.guard`.

Times the training step of `train.make_train_step`, as `fit` makes several in a call, with the
check (`train.guard`) and with one that always says yes, which the compiler removes together with
the choice between the new state and the old. All are compiled in this process and run in many
short turns, in an order that changes from round to round, so that a machine which becomes slower
does so for all. The step without the check is compiled and run twice: what the second costs above
the first is the error of the method.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import networks, ours
from jaxcnn.train import guard
from jaxcnn.typing import Batch


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures what the check for finite numbers costs."""

    networks: tuple[str, ...] = ("lenet", "resnet20")
    """Of lenet, cifar, resnet20, alexnet."""
    batch: int | None = None
    """Images in a batch; None: as `benchmarks.run` has it."""
    seconds: float = 180.0
    """Length of the measurement of a network."""
    turn: float = 0.05
    """Seconds of a turn, but one step at least."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor time of all threads, which other programs disturb less."""


def never(tree: Any) -> Any:
    """The check that is none."""
    del tree
    return jnp.asarray(True)


def compile_steps(
    network: networks.Network, checked: bool, now: Callable[[], float]
) -> Callable[[int], float]:
    """The function of n that makes n steps in one call and returns its seconds."""
    batch = Batch(*jax.device_put(networks.batch(network)))
    key = jax.random.key(0)
    state = [ours.train_state(network)]
    steps = jax.jit(ours.several_steps(network), donate_argnums=0)
    with contextlib.ExitStack() as replaced:
        for check in () if checked else ("all_finite", "addable"):
            replaced.enter_context(mock.patch.object(guard, check, never))
        run = steps.lower(state[0], batch, key, np.int32(1)).compile()

    def timed(n: int) -> float:
        began = now()
        state[0], counts = run(state[0], batch, key, np.int32(n))
        jax.block_until_ready((state[0], counts))
        return now() - began

    return timed


ORDERS = list(itertools.permutations(range(3)))


def measure(
    network: networks.Network,
    seconds: float,
    turn: float,
    now: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of a step in each round by the clock `now`: with the check, and twice without."""
    functions = [compile_steps(network, checked, now) for checked in (True, False, False)]
    for function in functions:
        function(1)
    step = min(function(1) for function in functions)
    n = max(1, round(turn / step))
    times: list[list[float]] = [[], [], []]
    for number in range(max(9, int(seconds / (3 * n * step)))):
        for place in ORDERS[number % len(ORDERS)]:
            times[place].append(functions[place](n) / n)
    return times


def cost(times: list[float], free: list[float]) -> str:
    """The median over the rounds of what a step costs above one without the check, in percent.

    With the standard error of that median, were its rounds independent and normal.
    """
    ratios = [100 * (a / b - 1) for a, b in zip(times, free, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    error = 1.2533 * (high - low) / 1.349 / len(ratios) ** 0.5
    return f"{middle:+.1f} % (+- {error:.1f})"


def main(arguments: list[str] | None = None) -> int:
    """Prints a line for each network."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.guard", args=arguments)
    now = time.perf_counter if settings.clock == "wall" else time.process_time
    device = jax.devices()[0].device_kind
    print(f"| network, batch (on {device}) | checked | not | cost | not, again | rounds |")
    print("| - | - | - | - | - | - |")
    for name in settings.networks:
        network = networks.find(name)
        if settings.batch is not None:
            network = dataclasses.replace(network, batch=settings.batch)
        checked, free, again = measure(network, settings.seconds, settings.turn, now)
        print(
            f"| {name}, {network.batch} | {1e3 * statistics.median(checked):.4g} ms | "
            f"{1e3 * statistics.median(free):.4g} ms | {cost(checked, free)} | "
            f"{cost(again, free)} | {len(free)} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
