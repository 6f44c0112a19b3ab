"""Short trainings of LeNet-5 on the digits, as tests make them."""

from __future__ import annotations

from pathlib import Path

import jax

from experiments.harness.runner import main
from experiments.lenet import EXPERIMENT


def arguments(tmp_path, *more) -> list[str]:
    base = [
        "--data",
        "digits",
        "--epochs",
        "2",
        "--expected",
        "0.1",
        "--out",
        str(tmp_path / "runs"),
    ]
    return [*base, *more]


def only_run(tmp_path) -> Path:
    (run,) = (tmp_path / "runs" / "lenet").iterdir()
    return run


def run_main(capsys, *given) -> tuple[int, str]:
    with jax.numpy_dtype_promotion("standard"):  # optax's schedules mix ints and floats
        status = main(EXPERIMENT, [str(item) for item in given])
    return status, capsys.readouterr().err
