"""Where a training step spends its time: `make profile` (or `make profile NET=resnet20`).

Writes a trace for https://ui.perfetto.dev (which opens it on your machine, nothing is sent) and
prints the layers that cost most, forward and backward together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import jaxcnn
from jaxcnn import losses, models, optim, train
from jaxcnn.layer import Layer
from jaxcnn.profile import profile
from jaxcnn.typing import Batch

NETWORKS: dict[str, tuple[Callable[[], Layer], int, tuple[int, int, int]]] = {
    "lenet": (models.lenet5, 128, (28, 28, 1)),
    "cifar": (models.deck_d_net, 100, (32, 32, 3)),
    "resnet20": (models.resnet20, 128, (32, 32, 3)),
    "alexnet": (models.alexnet, 32, (227, 227, 3)),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Profiles the training step of a network."""

    net: Literal["lenet", "cifar", "resnet20", "alexnet"] = "lenet"
    """Network."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What it computes in."""
    out: Path = Path("runs/profile")
    """Folder for the trace."""
    most: int = 5
    """Layers that are printed."""


def main(settings: Settings) -> None:
    """Compiles, profiles three steps and prints the table."""
    make, batch_size, shape = NETWORKS[settings.net]
    model = make()
    optimizer = optim.optimizer("momentum", 0.01)
    step = train.make_train_step(
        model,
        losses.softmax_cross_entropy,
        optimizer,
        precision=train.Precision(compute=settings.precision),
    )
    key = jax.random.key(0)
    ts = train.init_train_state(model, optimizer, key, shape)
    rng = np.random.default_rng(0)
    batch = Batch(
        jnp.asarray(rng.normal(size=(batch_size, *shape)), jnp.float32),
        jnp.asarray(rng.integers(10, size=batch_size), jnp.int32),
    )
    compiled = jax.jit(step).lower(ts, batch, key).compile()
    layers = [row.path for row in jaxcnn.ledger(model, shape).rows]
    found = profile(
        lambda: compiled(ts, batch, key),
        compiled.as_text() or "",
        layers,
        settings.out / settings.net,
    )
    total = sum(found.seconds.values())
    print(
        f"{settings.net}, batch {batch_size}, {settings.precision}, on",
        jax.devices()[0].device_kind,
    )
    print(f"{1e3 * total:.2f} ms a step over all operations; the most expensive layers:")
    for path, seconds in list(found.seconds.items())[: settings.most]:
        print(f"  {path:30} {1e3 * seconds:9.2f} ms {100 * seconds / total:5.1f} %")
    print(f"trace: {found.trace} (open it at https://ui.perfetto.dev)")


if __name__ == "__main__":
    main(tyro.cli(Settings))
