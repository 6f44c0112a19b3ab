"""A small experiment, run as any other: `python -m tests.chaos.tiny --resume auto ...`.

Dropout, batch norm, accumulation, augmentation and a plateau policy on a made-up data set, through
the very `main` that `python -m experiments.lenet` calls. Only the pictures at the end are left
out, to be quick. `--kill-at N` before all flags kills the process at the Nth call that changes the
disk inside a save.
"""

from __future__ import annotations

import atexit
import sys
from typing import Any

import experiments.harness.job
from experiments.harness import pictures
from experiments.harness.config import Config, Recipe
from experiments.harness.job import Experiment
from experiments.harness.runner import main
from jaxcnn import nn
from jaxcnn.data import Splits
from jaxcnn.run import RunFolder
from tests.chaos.faults import Faults, installed
from tests.conftest import blobs

EXPERIMENT = Experiment(
    name="tiny",
    config=Config,
    title=lambda config: f"a tiny network, seed {config.seed}",
    model=lambda config, shape, classes: nn.chain(
        conv=nn.Conv(4, 3),
        norm=nn.BatchNorm(),
        act=nn.relu,
        flatten=nn.Flatten(),
        drop=nn.Dropout(0.5),
        logits=nn.Dense(classes),
    ),
    recipes={
        "": Recipe(
            epochs=30,
            batch_size=10,
            rate=0.002,
            weight_decay=1e-3,
            shift=1,
            validation=50,
            expected=0.2,
        )
    },
    first_layer="conv",
    maps=(),
)

SETTINGS = [
    "--plateau",
    "reduce",
    "--accumulate",
    "2",
    "--log-every",
    "7",
    "--schedule",
    "constant",
]
"""Beside the flags given: what makes resuming hard."""


def load(*args: object, **kwargs: object) -> Splits:
    """In place of `data.load`."""
    return Splits(train=blobs(250, seed=1), test=blobs(45, seed=2))


def killed_inside_a_save(at: int) -> Faults:
    """Makes the `at`th call that saving makes the last one of this process. Returns the counter."""
    save, counter = RunFolder.save_checkpoint, Faults("kill", at)

    def failing(*args: Any, **kwargs: Any) -> Any:
        with installed(counter):
            return save(*args, **kwargs)

    RunFolder.save_checkpoint = failing  # type: ignore[method-assign]
    return counter


if __name__ == "__main__":
    experiments.harness.job.data.load = load
    pictures.draw = lambda *args, **kwargs: []
    given = sys.argv[1:]
    if given[:1] == ["--kill-at"]:
        saves = killed_inside_a_save(int(given[1]))
        atexit.register(lambda: print(f"{len(saves.calls)} calls inside saves"))
        given = given[2:]
    sys.exit(main(EXPERIMENT, [*SETTINGS, *given]))
