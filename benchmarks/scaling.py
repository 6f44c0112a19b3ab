"""Data parallelism on 1, 2, 4 and 8 virtual CPU devices: is it right, and what is exchanged?

    make bench-scaling
    python -m benchmarks.scaling --networks lenet --devices 1 8

No time is measured. Virtual devices share the cores of one machine and exchange through its
memory: eight of them are eight threads that wait for each other, not eight machines. What carries
over to real ones is the result, and the bytes that the compiled step exchanges. From those,
`benchmarks.predict` computes what to expect; docs/scaling.md shows both.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from benchmarks.block import Block
from benchmarks.cases import CASES, DEVICES, STEPS, WAYS, Case
from benchmarks.collectives import sent_bytes
from benchmarks.machine import versions
from benchmarks.process import ROOT, run_json
from benchmarks.results import BenchmarkError
from benchmarks.run import say
from benchmarks.table import Json
from jaxcnn import storage
from jaxcnn.errors import ConfigError, JaxcnnError, explain

RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
PAGE = ROOT / "docs" / "scaling.md"
BLOCK = Block("measured")
LIMIT = 3600.0
"""Seconds that one process may take."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Compares one step on many virtual devices with the same step on one."""

    networks: tuple[str, ...] = tuple(CASES)
    """Any of lenet, resnet20, alexnet-small, alexnet."""
    devices: tuple[int, ...] = DEVICES
    """Numbers of virtual devices; each is a process of its own. AlexNet itself has 8 only."""
    out: Path = RESULTS
    """The JSON to write; networks that it has and that are not measured anew stay."""
    docs: bool = False
    """Put the table into docs/scaling.md."""


def check(settings: Settings) -> None:
    """Raises ConfigError if a name is unknown or a number out of range."""
    for name in settings.networks:
        if name not in CASES:
            raise ConfigError(f"network {name!r} is unknown: use any of {', '.join(CASES)}.")
    for number in settings.devices:
        if number < 1:
            raise ConfigError(f"devices={number} is not allowed: expected positive ints.")


def measure(name: str, devices: int) -> dict[str, Any]:
    """One network on one number of devices, in a process of its own.

    Raises:
      WorkerError: the process failed.
      BenchmarkError: parameters differ, or more is exchanged than gradients and statistics.
    """
    changes = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    found: dict[str, Any] = run_json(["benchmarks.replicas", name], changes, limit=LIMIT)
    require(CASES[name], found)
    return found


def require(case: Case, found: Json) -> None:
    """Checks what must hold on any number of devices.

    Raises:
      BenchmarkError: it does not.
    """
    for way, row in found["ways"].items():
        place = f"{case.title}, {way} on {found['devices']} devices"
        if row["difference"] is not None and not row["difference"] <= case.tolerance:
            raise BenchmarkError(
                f"{place}: after {STEPS} steps the parameters differ from one device's by "
                f"{row['difference']:.1e}, more than rounding explains ({case.tolerance:g})."
            )
        if set(row["operations"]) - {"all-reduce"}:
            raise BenchmarkError(
                f"{place}: the step has {row['operations']}: only all-reduce is expected."
            )
        if found["devices"] > 1 and row["missing"]:
            raise BenchmarkError(
                f"{place}: no all-reduce carries the gradients of parameters of {row['missing']} "
                "elements."
            )


def table(results: Json) -> str:
    """The study as a table in Markdown."""
    head = (
        "network", "devices", "way", "largest difference", "all-reduce operations",
        "of them with kernels", "gradients, bytes", "4 x parameters", "statistics, bytes",
        "counts, bytes", "sent by a device in a ring, bytes",
    )  # fmt: skip
    lines = [head, ("-",) * len(head)]
    for name in (each for each in CASES if each in results["networks"]):
        for found in results["networks"][name]:
            for way in WAYS:
                row = found["ways"][way]
                total = row["gradient_bytes"] + row["statistics_bytes"] + row["count_bytes"]
                difference = row["difference"]
                lines.append(
                    (
                        CASES[name].title,
                        str(found["devices"]),
                        way,
                        "not run" if difference is None else f"{difference:.0e}",
                        str(row["operations"].get("all-reduce", 0)),
                        str(row["kernel_operations"]),
                        f"{row['gradient_bytes']:,}",
                        f"{4 * found['parameters']:,}" if found["devices"] > 1 else "-",
                        f"{row['statistics_bytes']:,}",
                        f"{row['count_bytes']:,}",
                        f"{sent_bytes(total, found['devices']):,.0f}",
                    )
                )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run(settings: Settings) -> dict[str, Any]:
    """Measures, writes the JSON, which is returned, and prints the table. Raises as `measure`."""
    check(settings)
    earlier = load(settings.out)["networks"] if settings.out.is_file() else {}
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "steps": STEPS,
        "networks": earlier,
    }
    for name in settings.networks:
        found = []
        for devices in settings.devices:
            if devices in CASES[name].devices:
                say(f"{CASES[name].title}: {devices} devices")
                found.append(measure(name, devices))
        results["networks"][name] = found
        storage.write_json(settings.out, results)
    print(table(results))
    print(f"wrote {settings.out}")
    if settings.docs:
        BLOCK.update(PAGE, table(results))
        print(f"wrote {PAGE}")
    return results


def load(path: Path = RESULTS) -> dict[str, Any]:
    """What the last run wrote."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.scaling", args=arguments)
    try:
        run(settings)
    except JaxcnnError as error:
        say(f"error: {explain(error)}")
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        say("interrupted.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
