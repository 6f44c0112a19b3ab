"""Times the training step of four networks in jaxcnn and in its peers.

    python -m benchmarks.run
    python -m benchmarks.run --networks lenet cifar --peers plain torch --rounds 3
    python -m benchmarks.run --readme

What is measured, and how, is in benchmarks/README.md. Nothing else should run meanwhile.
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

from benchmarks import networks
from benchmarks.libraries import PEERS, rows
from benchmarks.measure import measure
from benchmarks.process import ROOT, run_json
from benchmarks.startup import measure_startup
from benchmarks.table import (
    network_table,
    replace_block,
    safe_name,
    startup_lines,
    update_readme,
)
from jaxcnn import storage
from jaxcnn.errors import ConfigError, JaxcnnError, explain

README = ROOT / "README.md"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times the training step of jaxcnn and its peers."""

    networks: tuple[str, ...] = tuple(networks.NETWORKS)
    """Any of lenet, cifar, resnet20, alexnet."""
    peers: tuple[str, ...] = PEERS
    """Any of plain, flax, equinox, keras, torch; those that are not installed are left out."""
    rounds: int = 7
    """Turns of each library; medians are over them."""
    startup: bool = True
    """Also time imports, compilation, dispatch and reading data."""
    readme: bool = False
    """Put the table into README.md."""
    out: Path = ROOT / "benchmarks" / "results"
    """Folder of the JSON."""


def check(settings: Settings) -> None:
    """Raises ConfigError if a name is unknown or a number out of range."""
    for name in settings.networks:
        networks.find(name)
    for name in settings.peers:
        if name not in PEERS:
            raise ConfigError(f"peer {name!r} is unknown: use any of {', '.join(PEERS)}.")
    if settings.rounds < 1:
        raise ConfigError(f"rounds={settings.rounds} is not allowed: expected a positive int.")


def run(settings: Settings) -> dict[str, Any]:
    """Measures, prints the tables, and writes the JSON, which is returned.

    Raises:
      ConfigError: a setting is not allowed.
      BenchmarkError: libraries compute different networks, or README.md has no place.
      OutputError: the results cannot be written.
    """
    check(settings)
    if settings.readme:  # better now than after the measurement
        replace_block(README.read_text(encoding="utf-8"), "")
    machine = run_json(["benchmarks.machine", *settings.networks])
    say(f"device: {machine['device']}")
    names = rows(settings.peers, gpu=machine["gpu"])
    path = settings.out / f"{safe_name(machine['device'])}.json"
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {k: v for k, v in machine.items() if k != "networks"},
        "rounds": settings.rounds,
        "networks": _kept(path, machine),
        "not_run": not_run(gpu=machine["gpu"]),
        "startup": {},
    }
    for name in settings.networks:
        measured = measure(name, names, settings.rounds, machine, say)
        results["networks"][name] = {"date": results["date"], **measured}
        print(f"\n{network_table(results['networks'][name])}\n", flush=True)
    if settings.startup:
        results["startup"] = measure_startup(say)
        print("\n".join(["", *startup_lines(results["startup"])]))
    for name, reason in results["not_run"].items():
        print(f"{name}: {reason}")
    storage.write_json(path, results)
    print(f"wrote {path}")
    if settings.readme:
        update_readme(README, results)
        print(f"wrote {README}")
    return results


def _kept(path: Path, machine: dict[str, Any]) -> dict[str, Any]:
    """Networks measured earlier on the same device, which stay where they are not measured anew."""
    if not path.is_file():
        return {}
    earlier = json.loads(path.read_bytes())
    same = earlier["machine"]["device"] == machine["device"]
    return dict(earlier["networks"]) if same else {}


def not_run(*, gpu: bool) -> dict[str, str]:
    """What this machine leaves out, and why."""
    return {} if gpu else {"GPU": "not run"}


def say(line: str) -> None:
    """Tells what happens, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m benchmarks.run", args=arguments)
    try:
        run(settings)
    except ConfigError as error:
        say(f"error: {explain(error)}")
        return 2
    except JaxcnnError as error:
        say(f"error: {explain(error)}")
        return 1
    except KeyboardInterrupt:
        say("interrupted.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
