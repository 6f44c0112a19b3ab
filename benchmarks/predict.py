"""What data parallelism should cost on real machines: arithmetic, no measurement.

    python -m benchmarks.predict           # prints the tables of docs/scaling.md
    python -m benchmarks.predict --docs    # puts them there

Every device has all parameters and its own rows. A step is

    compute:   6 x multiply-adds x rows / (FLOP/s that are reached)
    exchange:  one all-reduce of 4 bytes for each parameter
    norms:     small all-reduces, one after another, for synchronised batch norm

and efficiency is compute / (compute + what of the rest does not overlap with it): the speed of
n devices over n times the speed of one, each with the same rows.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

import jaxcnn
from benchmarks.block import Block
from benchmarks.collectives import sent_bytes
from benchmarks.machines import LEAST_STEP, MACHINES, Level, Machine, hops
from benchmarks.process import ROOT
from benchmarks.results import BenchmarkError
from jaxcnn import models, nn
from jaxcnn.errors import JaxcnnError, explain
from jaxcnn.layer import Layer

PAGE = ROOT / "docs" / "scaling.md"
BLOCK = Block("predicted")

COUNTS = (8, 64, 512)
EXCHANGES_PER_NORM = 4
"""All-reduces one after another for a synchronised batch norm: mean and variance, and their
gradients. `tests/test_collectives.py` counts them in the compiled step."""

SHARDS = 8
"""Devices over which dense layers are divided, where they are."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What one network computes and exchanges.

    Attributes:
      title: for people.
      rows: of a step on one device.
      parameters, macs: of the whole network; multiply-adds of one example, forward.
      dense_parameters, dense_macs: of its dense layers.
      dense_values: inputs of all dense layers and the outputs of the last, of one example.
      norm_channels: channels of each synchronised batch norm.
    """

    title: str
    rows: int
    parameters: int
    macs: int
    dense_parameters: int
    dense_macs: int
    dense_values: int
    norm_channels: tuple[int, ...]

    def compute(self, machine: Machine, rows: int | None = None) -> float:
        """Seconds of a step on one device: three times the forward pass, two FLOP each."""
        rows = self.rows if rows is None else rows
        return max(6 * self.macs * rows / machine.sustained, LEAST_STEP)

    def rows_in(self, seconds: float, machine: Machine) -> float:
        """How many rows a device computes in that time."""
        return seconds * machine.sustained / (6 * self.macs)


def work(title: str, model: Layer, shape: tuple[int, ...], rows: int) -> Work:
    """Reads a network's `Work` from its ledger."""
    table = jaxcnn.ledger(model, shape)
    dense = [row for row in table.rows if isinstance(row.layer, nn.Dense)]
    units = [row.output[-1] for row in dense]
    inputs = [row.macs // unit for row, unit in zip(dense, units, strict=True)]
    return Work(
        title,
        rows,
        table.params,
        table.macs,
        sum(row.params for row in dense),
        sum(row.macs for row in dense),
        sum(inputs) + units[-1],
        tuple(row.output[-1] for row in table.rows if isinstance(row.layer, nn.BatchNorm)),
    )


def works() -> tuple[Work, ...]:
    """The networks of the page, with the rows of a device that are usual."""
    return (
        work("LeNet-5", models.lenet5(), (28, 28, 1), 128),
        work("ResNet-50", models.resnet50(), (224, 224, 3), 128),
        work("AlexNet", models.alexnet(), (227, 227, 3), 128),
    )


def all_reduce(levels: Sequence[Level], start: float, devices: int, size: float) -> float:
    """Seconds of an all-reduce of `size` bytes.

    Level by level: inside a host each device comes to hold the host's sum of its n-th part, all
    parts travel between hosts at the same time, and the sums spread inside the host.

    Raises:
      BenchmarkError: there are not as many devices.

    >>> all_reduce((Level(8, 1e9, 0.0),), 0.0, 8, 8e9)
    14.0
    >>> all_reduce((Level(8, 1e9, 0.0), Level(8, 1e8, 0.0)), 0.0, 16, 8e9)
    24.0
    """
    seconds, left = start, devices
    for level in levels:
        members = min(left, level.devices)
        if left % members:
            raise BenchmarkError(f"{left} devices do not fill groups of {members}.")
        seconds += sent_bytes(int(size), members) / level.bandwidth + hops(members) * level.hop
        size /= members
        left //= members
    if left > 1:
        raise BenchmarkError(f"{devices} devices are more than the machine has.")
    return seconds


def exchange(work: Work, machine: Machine, devices: int, width: int = 4) -> float:
    """Seconds of the all-reduce of all gradients, `width` bytes each."""
    return all_reduce(machine.levels, machine.start, devices, width * work.parameters)


def norms(work: Work, machine: Machine, devices: int) -> float:
    """Seconds of the statistics of synchronised batch norm, which nothing can overlap."""
    return EXCHANGES_PER_NORM * sum(
        all_reduce(machine.levels, machine.start, devices, 4 * channels)
        for channels in work.norm_channels
    )


def divided(work: Work, machine: Machine, devices: int) -> float:
    """Seconds of the exchange with every dense layer divided over `SHARDS` neighbours.

    Each of them has a share of the units and computes it for the rows of all. So examples travel
    instead of dense gradients: the inputs of each layer to all neighbours, and their gradients
    back. A share's own gradients are summed over the groups. (Krizhevsky 2014, scheme a.)
    """
    inner = machine.levels[0]
    values = 2 * 4 * work.dense_values * work.rows * (SHARDS - 1)  # bytes that a device sends
    examples = values / inner.bandwidth
    outer = machine.levels[1:] if inner.devices == SHARDS else machine.levels
    groups = devices // SHARDS
    share = 0.0
    if groups > 1:
        share = all_reduce(outer, machine.start, groups, 4 * work.dense_parameters / SHARDS)
    others = 4 * (work.parameters - work.dense_parameters)
    return examples + share + all_reduce(machine.levels, machine.start, devices, others)


def efficiency(compute: float, serial: float, exchanged: float, *, overlap: bool) -> float:
    """The part of a step's time in which one device computes what it would compute alone.

    Args:
      compute: seconds of the arithmetic.
      serial: seconds in which the arithmetic waits.
      exchanged: seconds of the gradients' exchange.
      overlap: whether it runs beside the backward pass, two thirds of the arithmetic, as far as
        it fits: the best case. Else all of it comes after.

    >>> efficiency(3.0, 0.0, 1.0, overlap=False), efficiency(3.0, 0.0, 3.0, overlap=True)
    (0.75, 0.75)
    """
    exposed = max(0.0, exchanged - compute * 2 / 3) if overlap else exchanged
    return compute / (compute + serial + exposed)


def tables() -> str:
    """All tables of the page, in Markdown."""
    networks = works()
    alexnet = networks[-1]
    beside = efficiency_table(networks)
    parts = [
        ("What a step asks for", work_table(networks)),
        ("Efficiency: all of the exchange after the backward pass, or beside it", beside),
        ("AlexNet: rows of a device at which the exchange costs as much", even_table(alexnet)),
        ("AlexNet: what helps", remedy_table(alexnet)),
    ]
    sources = "\n".join(f"- {machine.title}: {machine.source}." for machine in MACHINES)
    text = "\n\n".join(f"### {title}\n\n{table}" for title, table in parts)
    return f"{text}\n\nWhere the numbers are from:\n\n{sources}"


def work_table(networks: Sequence[Work]) -> str:
    """Parameters, bytes and arithmetic of each network."""
    head = (
        "network", "parameters", "MB all-reduced", "GFLOP of an image", "FLOP of an image for "
        "each byte", "dense layers: of the parameters", "of the multiply-adds",
        "batch norms",
    )  # fmt: skip
    return _markdown(
        head,
        [
            (
                each.title,
                f"{each.parameters:,}",
                f"{4e-6 * each.parameters:,.2f}",
                f"{6e-9 * each.macs:,.3g}",
                f"{6 * each.macs / (4 * each.parameters):,.1f}",
                f"{each.dense_parameters / each.parameters:.0%}",
                f"{each.dense_macs / each.macs:.1%}",
                str(len(each.norm_channels)),
            )
            for each in networks
        ],
    )


def efficiency_table(networks: Sequence[Work]) -> str:
    """Efficiency by machine, network and number of devices."""
    lines = []
    for machine in MACHINES:
        for each in networks:
            variants = [(each.title, each)]
            if each.norm_channels:
                local = dataclasses.replace(each, norm_channels=())
                variants.append((f"{each.title}, `BatchNorm(local=True)`", local))
            for title, variant in variants:
                compute = variant.compute(machine)
                cells = []
                for devices in COUNTS:
                    serial = norms(variant, machine, devices)
                    gradients = exchange(variant, machine, devices)
                    after, beside = (
                        efficiency(compute, serial, gradients, overlap=overlap)
                        for overlap in (False, True)
                    )
                    cells.append(f"{after:.0%}, {beside:.0%}")
                lines.append((machine.title, title, str(each.rows), f"{1e3 * compute:.2f}", *cells))
    head = ("machine", "network", "rows of a device", "ms of a device alone")
    return _markdown((*head, *(f"{count} devices" for count in COUNTS)), lines)


def even_table(work: Work) -> str:
    """Rows of a device at which efficiency is a half, and below which n are slower than one."""
    lines = []
    for machine in MACHINES:
        for devices in COUNTS:
            seconds = exchange(work, machine, devices)
            lines.append(
                (
                    machine.title,
                    str(devices),
                    f"{1e3 * seconds:,.1f}",
                    f"{work.rows_in(seconds, machine):,.0f}",
                    f"{math.ceil(work.rows_in(seconds / (devices - 1), machine)):,}",
                )
            )
    head = ("machine", "devices", "ms of the exchange", "rows for 50 %", "rows for any gain")
    return _markdown(head, lines)


def remedy_table(work: Work) -> str:
    """Efficiency without overlap of what can be done about dense layers, on 64 devices."""
    devices = COUNTS[1]
    lean = dataclasses.replace(
        work,
        parameters=work.parameters - work.dense_parameters,
        macs=work.macs - work.dense_macs,
    )
    more = 8 * work.rows
    ways: list[tuple[str, Callable[[Machine], tuple[float, float]]]] = [
        ("as it is", lambda m: (work.compute(m), exchange(work, m, devices))),
        (
            f"{more} rows of a device",
            lambda m: (work.compute(m, more), exchange(work, m, devices)),
        ),
        (
            "gradients exchanged in bfloat16",
            lambda m: (work.compute(m), exchange(work, m, devices, width=2)),
        ),
        (
            f"dense layers divided over {SHARDS} neighbours",
            lambda m: (work.compute(m), divided(work, m, devices)),
        ),
        (
            "no dense layers",
            lambda m: (lean.compute(m), exchange(lean, m, devices)),
        ),
    ]
    lines = [
        (
            title,
            *(f"{efficiency(a, 0.0, b, overlap=False):.0%}" for a, b in map(times, MACHINES)),
        )
        for title, times in ways
    ]
    head = (f"{devices} devices, {work.rows} rows each", *(each.title for each in MACHINES))
    return _markdown(head, lines)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["-"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Predicts the efficiency of data parallelism from counts and link speeds."""

    docs: bool = False
    """Put the tables into docs/scaling.md."""
    page: Path = PAGE
    """The page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.predict", args=arguments)
    text = tables()
    print(text)
    if settings.docs:
        try:
            BLOCK.update(settings.page, text)
        except JaxcnnError as error:
            print(f"error: {explain(error)}", file=sys.stderr)
            return 1
        print(f"wrote {settings.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
