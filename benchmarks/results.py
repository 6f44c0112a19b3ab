"""From times to the numbers of a row, and what must agree between libraries. No JAX in it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.libraries import LIBRARIES
from benchmarks.networks import Network
from jaxcnn.errors import JaxcnnError

TOLERANCE, GPU_TOLERANCE = 1e-3, 3e-2
"""Relative difference of the first losses that rounding explains; a GPU may use TF32."""


class BenchmarkError(JaxcnnError):
    """Libraries that compute different things, or results that cannot be shown."""


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and greatest, and the values themselves."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "all": list(values),
    }


def row_numbers(
    seconds: Sequence[float], batch: int, macs: int, matrix: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The numbers of one row.

    share = 3 * 2 * macs * batch / time / rate of the matrix product: a multiply-add is two
    operations, and a step is taken as three forward passes (one, and two for the gradients).

    Args:
      seconds: of a step, by round.
      batch: images of a step.
      macs: multiply-adds of an image, forward.
      matrix: `summary` of the matrix product's GFLOP/s, or None.
    """
    step = summary([1e3 * value for value in seconds])
    found: dict[str, Any] = {
        "milliseconds": step,
        "images_per_second": 1e3 * batch / step["median"],
        "share": None,
    }
    if matrix is not None:
        found["share"] = 6 * macs * batch / (step["median"] / 1e3) / (matrix["median"] * 1e9)
    return found


def check_same(
    network: Network,
    counted: Mapping[str, int],
    reports: Mapping[str, Mapping[str, Any]],
    *,
    gpu: bool = False,
) -> None:
    """Checks that all libraries train the same network.

    They start from the same parameters on the same batch, so besides the number of parameters
    the losses of the first steps must agree, unless the network has dropout.

    Args:
      network: what was described.
      counted: "parameters" of jaxcnn's ledger.
      reports: by library, its "parameters" and first "losses".
      gpu: whether matrix products may be less exact than float32.

    Raises:
      BenchmarkError: they differ; lists them all.
    """
    found = {"described": network.parameters, "jaxcnn's ledger": counted["parameters"]}
    found |= {name: report["parameters"] for name, report in reports.items()}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} {number:,}" for name, number in found.items())
        raise BenchmarkError(
            f"{network.title}: the libraries have different numbers of parameters: {listed}.\n"
            "They must describe the same network; correct the one that differs."
        )
    if network.random or not reports:
        return
    losses = {
        name: report["losses"]
        for name, report in reports.items()
        if not (name in LIBRARIES and LIBRARIES[name].rough)
    }
    tolerance = GPU_TOLERANCE if gpu else TOLERANCE
    middle = [statistics.median(values) for values in zip(*losses.values(), strict=True)]
    for name, values in losses.items():
        if not all(
            math.isclose(a, b, rel_tol=tolerance) for a, b in zip(values, middle, strict=True)
        ):
            listed = "; ".join(
                f"{each} {', '.join(f'{value:.4f}' for value in these)}"
                for each, these in losses.items()
            )
            raise BenchmarkError(
                f"{network.title}: the first losses of {name} differ from the others' by more "
                f"than {tolerance:g} of them: {listed}.\n"
                "All start from the same parameters on the same batch; correct "
                "the one that differs."
            )
