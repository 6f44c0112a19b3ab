"""Momentum in a ravine (deck C): the path of gradient descent for momenta from 0 to 0.99.

Command:   make train-ravine           (settings: python -m experiments.ravine --help)
Expected:  the deck shows paths at step size 0.003; the picture and the number of steps until the
           function stays below 0.01 are the result. The function is ours: the deck names none.
Time:      10 s.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.harness.lab import Lab
from experiments.harness.study import Claim, Findings, Study, StudyConfig, main
from jaxcnn import optim
from jaxcnn.typing import Array


@dataclasses.dataclass(frozen=True)
class RavineConfig(StudyConfig):
    """Momentum in a ravine."""

    step_size: float = 0.003
    """Learning rate, as in the deck."""
    momenta: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
    """Fractions of the velocity that are kept."""
    start: tuple[float, float] = (-1.2, 0.9)
    """Where every path begins."""
    steps: int = 5_000
    """At most so many."""
    goal: float = 0.01
    """The path has arrived once the function stays below it."""
    shown: int = 150
    """Steps that the picture shows."""


def ravine(place: Array) -> Array:
    """A bent ravine with steep walls: `(1 - x)^2 + 20 (3 y - x^2)^2`, 0 at (1, 1/3).

    Source: Rosenbrock 1960, with walls of another steepness.
    """
    x, y = place
    return (1 - x) ** 2 + 20 * (3 * y - x**2) ** 2


def descend(momentum: float, config: RavineConfig) -> tuple[NDArray[Any], NDArray[Any]]:
    """The places [steps + 1, 2] and the function's values [steps + 1] along the path."""
    optimizer = optim.optimizer("momentum", config.step_size, momentum=momentum)
    start = jnp.asarray(config.start)

    def step(carry: Any, _: None) -> Any:
        place, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(ravine)(place), opt_state, place)
        return (place + updates, opt_state), place + updates

    @jax.jit
    def path() -> tuple[Array, Array]:
        _, places = jax.lax.scan(step, (start, optimizer.init(start)), length=config.steps)
        places = jnp.concatenate([start[None], places])
        return places, jax.vmap(ravine)(places)

    places, values = path()
    return np.asarray(places), np.asarray(values)


def arrival(values: NDArray[Any], goal: float) -> int | None:
    """The step from which on all values are at most `goal`; None if there is none."""
    above = np.flatnonzero(~(values <= goal))  # so that NaN counts as above
    after = int(above[-1]) + 1 if len(above) else 0
    return after if after < len(values) else None


def run(config: RavineConfig, lab: Lab) -> Findings:
    """One path for each momentum."""
    del lab  # nothing here takes long
    paths = {m: descend(m, config) for m in config.momenta}
    needed = {m: arrival(values, config.goal) for m, (_, values) in paths.items()}
    rows = [
        {
            "momentum": f"{m:g}",
            f"steps until below {config.goal:g}": needed[m] or f"> {config.steps}",
            f"value after {config.shown} steps": f"{values[config.shown]:.3g}",
        }
        for m, (_, values) in paths.items()
    ]
    plain = needed.get(0.0)
    arrived = {m: n for m, n in needed.items() if n is not None}
    best = min(arrived, key=lambda m: arrived[m])
    answer = f"Momentum {best:g} arrives after {arrived[best]} steps, plain gradient descent " + (
        f"after {plain}." if plain else f"not within {config.steps}."
    )
    claim = Claim(
        "momentum is faster along a narrow ravine",
        f"fewer steps than without ({plain or f'> {config.steps}'})",
        f"{arrived[best]} steps at {best:g}",
        best > 0,
    )
    return Findings(
        answer,
        rows,
        [claim],
        [("paths", f"The first {config.shown} steps", _draw(paths, config))],
        {"steps": {f"{m:g}": n for m, n in needed.items()}},
    )


def _draw(paths: dict[float, tuple[NDArray[Any], NDArray[Any]]], config: RavineConfig) -> Figure:
    columns = 3
    figure = Figure(figsize=(10, 2.9 * -(-len(paths) // columns)), layout="constrained")
    grid = figure.subplots(-(-len(paths) // columns), columns, squeeze=False)
    x, y = np.meshgrid(np.linspace(-1.6, 1.6, 160), np.linspace(-0.5, 1.3, 120))
    height = np.log10(np.asarray(ravine(jnp.stack([jnp.asarray(x), jnp.asarray(y)]))) + 1e-3)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (momentum, (places, _)) in zip(grid.flat, paths.items(), strict=False):
        axes.set_axis_on()
        axes.contourf(x, y, height, levels=14, cmap="Blues")
        few = places[: config.shown + 1]
        axes.plot(few[:, 0], few[:, 1], "-o", color="#c8682c", markersize=2, linewidth=0.8)
        axes.plot(1, 1 / 3, "k*", markersize=9)
        axes.set_xlim(-1.6, 1.6)
        axes.set_ylim(-0.5, 1.3)
        axes.set_title(f"momentum {momentum:g}", fontsize=9)
    return figure


STUDY = Study("ravine", RavineConfig, "momentum in a ravine", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
