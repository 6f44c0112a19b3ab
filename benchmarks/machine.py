"""The machine and what jaxcnn's ledger says of the networks, in a process of its own.

`python -m benchmarks.machine NET...` prints one JSON line. The parent of a measurement must not
start a device itself: it would hold memory, and on a GPU most of it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from typing import Any

from jaxcnn.run import cores, processor

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "equinox", "keras", "torch")
SETTINGS = (
    "JAX_",
    "XLA_",
    "MALLOC_",
    "GLIBC_",
    "OMP_",
    "MKL_",
    "KMP_",
    "CUDA_",
    "NVIDIA_TF32",
    "LD_PRELOAD",
)
"""Beginnings of the environment variables that change speed; they are recorded."""


def versions() -> dict[str, str]:
    """Versions of Python and of what is installed of the libraries."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def settings() -> dict[str, str]:
    """Environment variables that are known to change speed."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith(SETTINGS)}


def main(names: list[str]) -> None:
    """Prints the JSON line."""
    import jax

    import jaxcnn
    from benchmarks import networks
    from benchmarks.ours import table_of

    device = jax.devices()[0]
    gpu = device.platform == "gpu"
    found: dict[str, Any] = {
        "gpu": gpu,
        "device": f"gpu {device.device_kind}" if gpu else f"cpu {processor()} {cores()} cores",
        "platform": platform.platform(),
        "versions": {"jaxcnn": jaxcnn.__version__} | versions(),
        "settings": settings(),
        "networks": {},
    }
    for name in names:
        network = networks.find(name)
        table = table_of(network)
        found["networks"][name] = {"parameters": table.params, "macs": table.macs}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
