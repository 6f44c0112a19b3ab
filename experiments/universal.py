"""Universal approximation (deck A): ReLU networks of width d + 4 come closer as they get deeper.

Command:   make train-universal        (settings: python -m experiments.universal --help)
Expected:  the deck cites the theorem of Lu et al. 2017, which promises that such a network exists,
           not that training finds it. The picture and the errors are the result: the best of
           several starts at each depth, and one hidden layer of growing width beside them.
Time:      1 minute on 2 CPU cores (x86-64, AVX-512).
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from numpy.typing import NDArray

import jaxcnn
from experiments.harness.lab import Lab
from experiments.harness.study import Claim, Findings, Study, StudyConfig, main
from jaxcnn import losses, models, optim
from jaxcnn.layer import Layer
from jaxcnn.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class UniversalConfig(StudyConfig):
    """Universal approximation."""

    seeds: int = 16
    """Starts of each network, of which the best counts."""
    depths: tuple[int, ...] = (1, 2, 4, 6)
    """Hidden layers of width d + 4 = 5."""
    widths: tuple[int, ...] = (5, 20, 80)
    """Units of a single hidden layer."""
    points: int = 512
    """Places in [-1, 1] that the networks are fitted on."""
    steps: int = 6_000
    """Steps of Adam on all places at once, the rate falling along a cosine."""
    rate: float = 0.01
    """Largest learning rate."""


class Fitted(NamedTuple):
    """The best of several fits."""

    error: float  # root of the mean squared error
    outputs: NDArray[Any]  # [points]


def target(x: Array) -> Array:
    """The function of one variable that is approximated: two waves and a corner."""
    return jnp.sin(2 * jnp.pi * x) + 0.5 * jnp.sin(5 * jnp.pi * x) + jnp.abs(x)


def fit(model: Layer, x: Array, config: UniversalConfig) -> Fitted:
    """Fits the network from every start at once and keeps the best."""
    y = target(x)
    rate = optim.schedule("cosine", config.rate, total=config.steps)
    optimizer = optim.optimizer("adam", rate)

    def loss(params: Any) -> Array:
        outputs, _ = jaxcnn.apply(model, params, {}, x)
        return jnp.mean(losses.square(outputs, y))

    def one(key: Key) -> tuple[Array, Array]:
        params, _ = jaxcnn.init(model, key, (1,))

        def step(carry: Any, _: None) -> Any:
            params, opt_state = carry
            updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=config.steps)
        outputs, _ = jaxcnn.apply(model, params, {}, x)
        return jnp.sqrt(2 * loss(params)), outputs[:, 0]

    keys = jax.random.split(jax.random.key(0), config.seeds)
    errors, outputs = jax.jit(jax.vmap(one))(keys)
    best = int(np.nanargmin(np.asarray(errors)))
    return Fitted(float(errors[best]), np.asarray(outputs[best]))


def run(config: UniversalConfig, lab: Lab) -> Findings:
    """Fits deep narrow networks and shallow wide ones."""
    x = jnp.linspace(-1, 1, config.points)[:, None]
    width = 1 + 4
    networks = {
        **{_name(n, width): (width,) * n for n in config.depths},
        **{_name(1, w): (w,) for w in config.widths},
    }
    kept: dict[str, Fitted] = {}
    rows = []
    for name, hidden in networks.items():
        model = models.mlp(hidden, outputs=1)

        def make(name: str = name, model: Layer = model) -> dict[str, Any]:
            kept[name] = fit(model, x, config)
            return {"error": kept[name].error, "outputs": kept[name].outputs.tolist()}

        found = lab.once(name, make)
        kept[name] = Fitted(found["error"], np.asarray(found["outputs"]))
        params = jaxcnn.ledger(model, (1,)).params
        rows.append(
            {
                "network": name,
                "parameters": params,
                "root mean square error": f"{kept[name].error:.4f}",
            }
        )
    error = {n: kept[_name(n, width)].error for n in config.depths}
    least, best = min(config.depths), min(error, key=lambda n: error[n])
    factor = error[least] / error[best]
    answer = (
        f"At width d + 4 = {width} the error falls from {error[least]:.3f} with {least} hidden "
        f"layer to {error[best]:.3f} with {best}"
    )
    deepest = max(config.depths)
    if deepest != best:
        answer += f"; with {deepest} training finds {error[deepest]:.3f}, though better ones exist"
    answer += "."
    claim = Claim(
        "networks of width d + 4 come closer with depth",
        "a smaller error",
        f"{factor:.1f} times smaller",
        factor > 1,
    )
    figure = _draw(np.asarray(x[:, 0]), np.asarray(target(x)[:, 0]), kept)
    return Findings(
        answer,
        rows,
        [claim],
        [("fits", "The function and its approximations", figure)],
        {"errors": {name: fitted.error for name, fitted in kept.items()}},
    )


def _name(depth: int, width: int) -> str:
    return f"{depth} hidden layer{'s' if depth > 1 else ''} of {width}"


def _draw(x: NDArray[Any], y: NDArray[Any], kept: dict[str, Fitted]) -> Figure:
    columns = 3
    figure = Figure(figsize=(10, 2.4 * -(-len(kept) // columns)), layout="constrained")
    grid = figure.subplots(-(-len(kept) // columns), columns, squeeze=False, sharey=True)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (name, fitted) in zip(grid.flat, kept.items(), strict=False):
        axes.set_axis_on()
        axes.plot(x, y, color="#bbbbbb", linewidth=3)
        axes.plot(x, fitted.outputs, color="#c8682c", linewidth=1)
        axes.set_title(f"{name}: error {fitted.error:.3f}", fontsize=8)
    return figure


STUDY = Study("universal", UniversalConfig, "universal approximation at width d + 4", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
