"""The folder that holds everything about one training.

```
runs/<experiment>/<time>-<seed>/
  config.json     every setting
  record.json     versions, device, data, figures
  metrics.jsonl   one line an interval
  checkpoints/    step-00000469/ ...
  *.png, report.html
```
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxcnn import checkpoint, settings, storage
from jaxcnn.errors import CheckpointError

_PACKAGES = ("jaxcnn", "jax", "jaxlib", "optax", "flax", "numpy", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @classmethod
    def create(cls, root: Path, experiment: str, seed: int) -> RunFolder:
        """Makes a new folder below `root`.

        Raises:
          OutputError: it cannot be written.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = root / experiment / f"{stamp}-{seed}"
        number = 1
        while path.exists():
            number += 1
            path = root / experiment / f"{stamp}-{seed}-{number}"
        run = cls(path)
        storage.write_bytes(run.metrics, b"")  # fails now rather than after the training
        return run

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def log(self, line: dict[str, Any]) -> None:
        """Appends a line to the metrics log. What is not finite becomes null."""
        storage.append_line(self.metrics, json.dumps(_finite(line), allow_nan=False))

    def history(self) -> list[dict[str, Any]]:
        """The lines of the metrics log."""
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def rewind_log(self, lines: int) -> None:
        """Drops what comes after the first `lines`: a resumed training writes it again."""
        kept = self.metrics.read_bytes().splitlines(keepends=True)[:lines]
        storage.write_bytes(self.metrics, b"".join(kept))

    def save_checkpoint(self, step: int, tree: Any, about: dict[str, Any], keep: int) -> Path:
        """Saves a checkpoint of `step` and deletes all but the newest `keep`.

        Those of later steps are deleted as well: training has gone back behind them.
        """
        path = self.checkpoints / f"step-{step:08d}"
        lines = len(self.metrics.read_bytes().splitlines())
        checkpoint.save(path, tree, about | {"step": step, "log_lines": lines})
        found = self.list_checkpoints()
        place = found.index(path)
        for old in found[: max(place + 1 - keep, 0)] + found[place + 1 :]:
            checkpoint.delete(old)
        return path

    def list_checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(p.parent for p in self.checkpoints.glob("step-*/manifest.json"))

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
          CheckpointError: there is none.
        """
        found = self.list_checkpoints()
        if not found:
            raise CheckpointError(f"{self.path}: holds no checkpoint to go on from.")
        return found[-1]


def environment() -> dict[str, Any]:
    """What a result may depend on besides the config: versions, machine, code."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "processor": processor(),
        "cores": cores(),
        "variables": settings.variables(),
        "jax": settings.jax_settings(),
        "git": _git_commit(),
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name: rounding on CPU depends on how wide its registers are."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git_commit() -> str | None:
    """The commit of the code, with "+" if files differ from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", here, *command], capture_output=True, text=True, check=True, timeout=5
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
