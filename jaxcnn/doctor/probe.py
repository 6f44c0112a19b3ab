"""What JAX does here, in a process of its own: `python -m jaxcnn.doctor.probe`.

A broken driver or a misspelt flag does not raise an error, it ends the process or hangs it. So the
doctor starts this one, and reads the one JSON line that it prints.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from typing import Any

from jaxcnn.doctor.finding import Finding, Level

TIMEOUT = 180.0
"""Seconds after which the process is taken to hang."""


def run(command: list[str] | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Starts the process and returns what it found, or {"problem": text}."""
    command = command or [sys.executable, "-m", "jaxcnn.doctor.probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"problem": f"starting a device and training a step took over {timeout:.0f} s"}
    except OSError as error:
        return {"problem": f"cannot start {command[0]}: {error.strerror}"}
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        try:
            found: dict[str, Any] = json.loads(lines[-1])
        except json.JSONDecodeError:
            return {"problem": f"printed {lines[-1]!r} instead of what it found"}
        return found
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    return {"problem": f"JAX ended with {how}: {last}"}


def training(found: dict[str, Any]) -> list[Finding]:
    """Whether a step of training works, and the cache of compiled programs.

    Args:
      found: as `run` gives it.
    """
    if "problem" in found:
        return [Finding("error", "training", f"{found['problem']}: see docs/doctor.md")]
    loss, seconds = found["loss"], found["seconds"]
    if loss is None or not math.isfinite(loss):
        text = f"the loss of one step is {loss}, not finite: JAX or its driver is broken"
        findings = [Finding("error", "training", text)]
    else:
        text = f"one step of a small network: loss {loss:.4f}, in {seconds:.1f} s"
        findings = [Finding("ok", "training", text)]
    if found["cache"] is None:
        text = "is not in use: compiled programs are lost; see the folder above"
        findings.append(Finding("warning", "compile cache", text))
    else:
        level: Level = "warning" if found["rejected"] else "ok"
        findings.append(Finding(level, "compile cache", found["cache"]))
    return findings


def probe() -> dict[str, Any]:
    """Starts the devices, makes one step, and says what there was."""
    import jax
    import numpy as np

    from jaxcnn import data, losses, nn, optim, train
    from jaxcnn.compilation import use_compile_cache

    began = time.perf_counter()
    cache = use_compile_cache()
    devices = jax.devices()
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(8, 12, 12, 1)).astype(np.uint8)
    labels = np.arange(8, dtype=np.int32) % 2
    model = nn.chain(
        conv=nn.Conv(4, 3), act=nn.relu, pool=nn.MaxPool(2), flat=nn.Flatten(), fc=nn.Dense(2)
    )
    result = train.fit(
        model,
        data.Dataset("noise", images, labels, ("0", "1"), "made up"),
        loss=losses.softmax_cross_entropy,
        optimizer=optim.optimizer("momentum", 0.01),
        epochs=1,
        batch_size=8,
        seed=0,
        prepare=data.Scale(),
        devices=devices[:1],
    )
    loss = float(result.history[-1]["loss"])
    return {
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "loss": loss if math.isfinite(loss) else None,
        "seconds": time.perf_counter() - began,
        "cache": cache.summary() if cache else None,
        "rejected": cache.rejected if cache else 0,
    }


if __name__ == "__main__":
    print(json.dumps(probe()))
