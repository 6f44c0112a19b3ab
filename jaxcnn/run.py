"""The folder that holds everything about one training.

```
runs/<experiment>/<time>-<seed>/
  config.json     every setting
  metrics.jsonl   one line an interval
  checkpoints/    step-00000469/ ...
  lock            while a process trains: which
  *.png, report.html
  record.json     versions, device, data, figures; written last: the run is complete
```
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxcnn import checkpoint, settings, storage
from jaxcnn.errors import CheckpointError, DamagedCheckpointError, DataError
from jaxcnn.untrusted import field, parse_json, read_bytes, read_json

_RUN = re.compile(r"(?P<time>\d{8}-\d{6})-\d+(-(?P<number>\d+))?")
_PACKAGES = ("jaxcnn", "jax", "jaxlib", "optax", "flax", "numpy", "tensorflow-datasets")
_MOST_LOG = 256 << 20  # bytes: a million lines


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @classmethod
    def create(
        cls, root: Path, experiment: str, seed: int, config: dict[str, Any] | None = None
    ) -> RunFolder:
        """Makes a new folder below `root`, its config in it from the first moment.

        Args:
          root: folder of all runs.
          experiment: name of the folder in it.
          seed: ends the folder's name.
          config: JSON values, for `config.json`.

        Raises:
          OutputError: it cannot be written.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count(1):
            last = f"-{number}" if number > 1 else ""
            run = cls(root / experiment / f"{stamp}-{seed}{last}")
            try:
                with storage.new_folder(run.path, replace=False) as folder:
                    storage.write_new(folder / run.metrics.name, b"")
                    if config is not None:
                        storage.write_new(folder / run.config.name, storage.as_json(config))
            except FileExistsError:
                continue
            return run
        raise AssertionError("counting has no end")

    @classmethod
    def list_runs(cls, root: Path, experiment: str) -> list[RunFolder]:
        """The runs of an experiment below `root`, in the order in which they were started."""
        found = []
        for path in (root / experiment).glob("*"):
            named = _RUN.fullmatch(path.name)
            if named and path.is_dir():
                found.append((named["time"], int(named["number"] or 1), path))
        return [cls(path) for _, _, path in sorted(found)]

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def record(self) -> Path:
        """Written last of all: with it the run is complete."""
        return self.path / "record.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def lock(self) -> Path:
        """For `lock.hold` while the run is written to."""
        return self.path / "lock"

    def log(self, line: dict[str, Any]) -> None:
        """Appends a line to the metrics log. What is not finite becomes null."""
        storage.append_line(self.metrics, json.dumps(_finite(line), allow_nan=False))

    def history(self) -> list[dict[str, Any]]:
        """The lines of the metrics log, but for half a line that a kill may have left at its end.

        Raises:
          DataError: the log cannot be read, or a line is no JSON object; names it.
        """
        lines = []
        for number, line in enumerate(self._lines(), start=1):
            where = f"{self.metrics}:{number}"
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: not usable JSON: not UTF-8: {error}.") from error
            lines.append(parse_json(text, where, error=DataError))
        return lines

    def read_record(self) -> dict[str, Any]:
        """The record of versions, device, data and figures.

        Raises:
          DataError: it cannot be read or is no JSON object.
        """
        return read_json(self.record, error=DataError)

    def rewind(self, step: int, lines: int) -> int:
        """Goes back to a checkpoint: a resumed training makes again what comes after it.

        Args:
          step: of the checkpoint; those of later steps are deleted.
          lines: of the log up to it, its "log_lines"; later ones are dropped.

        Returns:
          How many lines are missing from the log, because it was deleted or cut: normally 0.
        """
        storage.tidy(self.path)
        storage.tidy(self.checkpoints)
        for path in self.list_checkpoints():
            if path.name > _name(step):
                checkpoint.delete(path)
        kept = self._lines()[:lines]
        storage.write_bytes(self.metrics, b"".join(kept))
        return lines - len(kept)

    def save_checkpoint(
        self, step: int, tree: Any, about: dict[str, Any], keep: int, best: int | None = None
    ) -> Path:
        """Saves a checkpoint of `step` and deletes all but the newest `keep` and the best.

        Those of later steps are deleted as well: training has gone back behind them.

        Args:
          step: of the training, names the checkpoint.
          tree: arrays.
          about: JSON values to keep with it. `step` and `log_lines` are added.
          keep: checkpoints to keep, 1 or more.
          best: step of a checkpoint that stays however old it is, or None.

        Raises:
          CheckpointError: an array is not finite; nothing was saved.
          OutputError: it cannot be written; the checkpoints before are untouched.
        """
        storage.tidy(self.path)
        storage.tidy(self.checkpoints)
        storage.flush(self.metrics)  # a checkpoint never outlives the lines that belong to it
        path = self.checkpoint_at(step)
        checkpoint.save(path, tree, about | {"step": step, "log_lines": len(self._lines())})
        found = self.list_checkpoints()
        place = found.index(path)
        for old in found[place + 1 :]:
            checkpoint.delete(old)
        for old in found[: max(place + 1 - keep, 0)]:
            if best is None or old.name != _name(best):
                checkpoint.delete(old)
        return path

    def checkpoint_at(self, step: int) -> Path:
        """Where the checkpoint of a step is, if there is one."""
        return self.checkpoints / _name(step)

    def list_checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first. None is unfinished; whether one is damaged, reading shows."""
        found = storage.standing_in(self.checkpoints)
        return [path for path in found if path.name.startswith("step-")]

    def latest_checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
          CheckpointError: there is none.
        """
        found = self.list_checkpoints()
        if not found:
            raise CheckpointError(f"{self.path}: holds no checkpoint to go on from.")
        return found[-1]

    def restore_newest(
        self,
        like: Callable[[dict[str, Any]], Any],
        say: Callable[[str], None] = print,
    ) -> tuple[Any, dict[str, Any]]:
        """The newest checkpoint that is undamaged.

        Args:
          like: from what was kept with a checkpoint, a tree of its structure. May raise
            `CheckpointError` where the checkpoint does not belong here.
          say: told of each damaged checkpoint, and where the damage is.

        Returns:
          The tree and what was kept with it.

        Raises:
          CheckpointError: there is none, all are damaged, or it does not belong here.
        """
        last = self.latest_checkpoint()  # raises if there is none
        for path in reversed(self.list_checkpoints()):
            try:
                about = checkpoint.read_manifest(path)["about"]
                step = field(about, "step", int, path, error=DamagedCheckpointError)
                if path.name != _name(step):
                    raise DamagedCheckpointError(
                        f"{path}: manifest.json is of step {step}: its files belong elsewhere."
                    )
                return checkpoint.restore(path, like(about)), about
            except DamagedCheckpointError as error:
                say(f"passed over: {error}")
        raise DamagedCheckpointError(
            f"{self.path}: every checkpoint is damaged, the newest is {last}."
        )

    def _lines(self) -> list[bytes]:
        """Whole lines of the log, line ends included: not the part of one that a kill may leave."""
        content = b""
        if self.metrics.exists():
            content = read_bytes(self.metrics, most=_MOST_LOG, error=DataError)
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


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
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),  # changes no result, but the time
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
