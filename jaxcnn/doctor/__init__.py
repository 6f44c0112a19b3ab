"""What may be wrong with this machine, looked at piece by piece: `jaxcnn doctor`.

Each check is a function of what it looks at, which something else collects: so a test can show
it a machine that nobody has. `docs/doctor.md` says what each finding means.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxcnn.doctor import folders, machine, probe, software
from jaxcnn.doctor.finding import Finding, status, summary
from jaxcnn.errors import DataError

__all__ = ["Finding", "examine", "status", "summary"]


def examine(data_dir: Path | None = None, timeout: float = probe.TIMEOUT) -> Iterator[Finding]:
    """All findings, one after another; the last ones take some seconds.

    Args:
      data_dir: folder with data; None: where they usually are.
      timeout: seconds that starting JAX and one step of training may take.
    """
    yield software.python(tuple(sys.version_info[:3]))
    yield from software.packages(software.installed())
    yield from software.variables(os.environ)
    yield machine.cores(machine.count_cores())
    yield machine.memory(machine.free_memory())
    for what, seen in folders.places(os.environ).items():
        yield folders.folder(what, seen, os.getuid())
    readable = data_dir is None or os.access(data_dir / ".", os.R_OK | os.X_OK)
    try:
        found = folders.find_data(data_dir) if readable else {}
        yield from folders.data(found, data_dir, readable)
    except DataError as error:
        yield Finding("error", "data", str(error))
    seen_by_jax = probe.run(timeout=timeout)
    if "problem" not in seen_by_jax:
        backend, kinds = seen_by_jax["backend"], seen_by_jax["devices"]
        yield machine.devices(backend, kinds, machine.gpu_signs(), os.environ)
        if backend == "cpu" and sys.platform == "linux":
            yield machine.pages(os.environ)
    yield from probe.training(seen_by_jax)
