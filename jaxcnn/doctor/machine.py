"""Checks of cores, memory and devices."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcnn.doctor.finding import Finding

GIB = 2**30

LITTLE, TOO_LITTLE = 4 * GIB, GIB
"""Free memory, in bytes, below which a training of LeNet-5 may get into trouble, or will."""


class Cores(NamedTuple):
    """Cores of the machine, those this process may use, and the share its container grants."""

    machine: int
    allowed: int
    granted: float  # infinity without a limit


def count_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> Cores:
    """Looks at this process."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, granted_cores(cgroup))


def granted_cores(cgroup: Path) -> float:
    """The limit in a cgroup's folder, in cores: quota / period. Infinity if there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return math.inf
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return math.inf  # "max", or -1
    return int(quota) / int(period)


def cores(seen: Cores) -> Finding:
    """Whether the threads that JAX starts have cores to run on."""
    if seen.granted < seen.allowed:
        wanted = max(1, int(seen.granted))
        return Finding(
            "warning",
            "cores",
            f"{seen.allowed} are seen but {seen.granted:g} granted, so threads wait for each "
            f"other: start with `taskset -c 0-{wanted - 1}`, or ask for a larger limit",
        )
    if seen.allowed == 1:
        return Finding("warning", "cores", "1: training is slow; allow more if there are more")
    return Finding("ok", "cores", f"{seen.allowed} of {seen.machine}")


def free_memory(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> float:
    """Bytes that this process may still take; infinity where that is not known."""
    free = math.inf
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024.0 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        free = math.inf
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            room = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        free = min(free, max(room, 0))
    return free


def memory(free: float) -> Finding:
    """Whether there is enough memory.

    Args:
      free: bytes, as `free_memory` gives them.
    """
    if math.isinf(free):
        return Finding("ok", "memory", "how much is free is not known on this system")
    shown = f"{free / GIB:.1f} GiB free"
    if free < TOO_LITTLE:
        return Finding("error", "memory", f"{shown}: end other programs, or get a larger limit")
    if free < LITTLE:
        return Finding(
            "warning", "memory", f"{shown}: choose small networks and batches (--accumulate)"
        )
    return Finding("ok", "memory", shown)


LARGE_PAGES = "glibc.malloc.hugetlb=1"
"""In GLIBC_TUNABLES: malloc asks the kernel for large pages."""


def pages(
    environment: Mapping[str, str],
    libc: tuple[str, str] | None = None,
    kernel: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled"),
) -> Finding:
    """Whether large arrays lie in large pages, which saves a step on CPU page faults.

    XLA allocates a block for each call of a program. glibc returns a large one to the system
    afterwards, and gets it back page by page: of 4 KiB on x86-64, or of 2 MiB.

    Args:
      environment: variables.
      libc: name and version of the C library; None: this process's.
      kernel: the kernel's setting, such as "always [madvise] never".
    """
    try:
        setting = kernel.read_text()
    except OSError:
        return Finding("ok", "pages", "the kernel does not say whether it gives large ones")
    if "[always]" in setting:
        return Finding("ok", "pages", "large, for all programs")
    if "[madvise]" not in setting:
        return Finding("ok", "pages", "small: the kernel gives no large ones")
    name, version = platform.libc_ver() if libc is None else libc
    number = re.match(r"(\d+)\.(\d+)", version)
    if name != "glibc" or number is None or (int(number[1]), int(number[2])) < (2, 35):
        return Finding("ok", "pages", "small: malloc of this system cannot ask for large ones")
    tunables = environment.get("GLIBC_TUNABLES", "")
    given = dict(tunable.partition("=")[::2] for tunable in tunables.split(":"))
    if given.get(LARGE_PAGES.partition("=")[0], "0") not in ("", "0"):
        return Finding("ok", "pages", "large, as GLIBC_TUNABLES asks")
    text = f"set GLIBC_TUNABLES={LARGE_PAGES}, as `make train-...` does"
    if tunables:
        text = f"add {LARGE_PAGES} to GLIBC_TUNABLES, after a colon"
    return Finding("warning", "pages", f"small, which slows training on CPU: {text}")


def gpu_signs(
    dev: Path = Path("/dev"), driver: Path = Path("/proc/driver/nvidia"), smi: str | None = None
) -> list[str]:
    """What speaks for an NVIDIA GPU in this machine.

    Args:
      dev: folder with the device files nvidia0, nvidia1, ...
      driver: folder of the kernel's driver.
      smi: what `nvidia-smi -L` printed; None asks it, where it is installed.
    """
    signs = [str(path) for path in sorted(dev.glob("nvidia[0-9]*"))]
    signs += [str(path) for path in sorted(driver.glob("gpus/*"))]
    listed = list_gpus() if smi is None else smi
    signs += [line.partition(" (UUID")[0] for line in listed.splitlines() if line[:4] == "GPU "]
    return signs


def list_gpus() -> str:
    """What `nvidia-smi -L` prints; nothing where it is missing or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    try:
        done = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def devices(
    backend: str, kinds: Sequence[str], signs: Sequence[str], environment: Mapping[str, str]
) -> Finding:
    """Whether JAX uses the device that one would expect.

    Args:
      backend: JAX's name of the platform: "cpu", "gpu", "tpu".
      kinds: of each device.
      signs: as `gpu_signs` gives them.
      environment: variables; JAX_PLATFORMS and CUDA_VISIBLE_DEVICES may ask for the CPU.
    """
    shown = f"{backend}: {len(kinds)} x {', '.join(sorted(set(kinds)))}"
    if backend != "cpu" or not signs:
        return Finding("ok", "devices", shown)
    present = f"a GPU is present ({signs[0]}), but JAX runs on {shown}"
    if environment.get("JAX_PLATFORMS") == "cpu":
        return Finding("warning", "devices", f"{present}: unset JAX_PLATFORMS to use the GPU")
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("warning", "devices", f"{present}: unset CUDA_VISIBLE_DEVICES to use it")
    return Finding(
        "error",
        "devices",
        f"{present}: pip install 'jax[cuda13]' (or jax[cuda12] for an older driver; "
        "nvidia-smi shows which CUDA version the driver has)",
    )
