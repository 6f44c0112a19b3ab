"""What it costs that a step is accepted only if it is finite: `python -m benchmarks.guard`.

Times the training step of `train.make_train_step`, as `fit` makes several in a call, with the
check (`train.guard`) and with one that always says yes, which the compiler removes together with
the choice between the new state and the old. Both are compiled in this process and run in turns, so
that a machine which becomes slower does so for both; the order changes from round to round.
"""

from __future__ import annotations

import dataclasses
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
    rounds: int = 15
    """Turns of each."""
    seconds: float = 1.0
    """Length of a turn, but one step at least."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: processor time of all threads, which other programs disturb less."""


def never(tree: Any) -> Any:
    """The check that is none."""
    del tree
    return jnp.asarray(True)


def compile_steps(
    name: str, check: Callable[[Any], Any], now: Callable[[], float]
) -> Callable[[int], float]:
    """The function of n that makes n steps in one call and returns its seconds."""
    network = networks.find(name)
    batch = Batch(*jax.device_put(networks.batch(network)))
    key = jax.random.key(0)
    state = [ours.train_state(network)]
    with mock.patch.object(guard, "all_finite", check):
        steps = jax.jit(ours.several_steps(network), donate_argnums=0)
        run = steps.lower(state[0], batch, key, np.int32(1)).compile()

    def timed(n: int) -> float:
        began = now()
        state[0], counts = run(state[0], batch, key, np.int32(n))
        jax.block_until_ready((state[0], counts))
        return now() - began

    return timed


def measure(
    name: str, rounds: int, seconds: float, now: Callable[[], float] = time.perf_counter
) -> tuple[list[float], list[float]]:
    """Seconds of a step in each round, with the check and without, by the clock `now`."""
    functions = [compile_steps(name, check, now) for check in (guard.all_finite, never)]
    for function in functions:
        function(1)
    n = max(1, int(seconds / min(function(1) for function in functions)))
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            times[place].append(functions[place](n) / n)
    return times


def main(arguments: list[str] | None = None) -> int:
    """Prints a line for each network."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.guard", args=arguments)
    now = time.perf_counter if settings.clock == "wall" else time.process_time
    device = jax.devices()[0].device_kind
    print(f"| network (on {device}) | with the check | without | cost | quartiles |")
    print("| - | - | - | - | - |")
    for name in settings.networks:
        checked, free = measure(name, settings.rounds, settings.seconds, now)
        ratios = [a / b - 1 for a, b in zip(checked, free, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {1e3 * statistics.median(checked):.4g} ms | "
            f"{1e3 * statistics.median(free):.4g} ms | {100 * middle:+.1f} % | "
            f"{100 * low:+.1f} .. {100 * high:+.1f} % |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
