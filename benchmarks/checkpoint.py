"""What verifying a checkpoint costs beside loading it and compiling the step that goes on.

    python -m benchmarks.checkpoint --net resnet20

Verifying is the SHA-256 of the arrays and reading the manifest, whose own SHA-256 is checked;
loading is all that `checkpoint.restore` does, verifying included. Compiling is that of the training
step, once without and once with jaxcnn's cache of compiled programs. Medians of `--rounds`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

from benchmarks.profile import NETWORKS
from jaxcnn import checkpoint, losses, optim, train
from jaxcnn.compilation import use_compile_cache
from jaxcnn.typing import Batch


@dataclasses.dataclass(frozen=True)
class Settings:
    """Measures what verifying a checkpoint costs."""

    net: Literal["lenet", "cifar", "resnet20", "alexnet"] = "resnet20"
    """Network; with the state of momentum the checkpoint has twice its parameters."""
    rounds: int = 5
    """Repetitions."""


def main(settings: Settings) -> None:
    """Saves, verifies, restores and compiles; prints a line for each."""
    make, batch_size, shape = NETWORKS[settings.net]
    model = make()
    optimizer = optim.optimizer("momentum", 0.01)
    key = jax.random.key(0)
    ts = train.init_train_state(model, optimizer, key, shape)
    batch = Batch(
        jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct((batch_size,), jnp.int32),  # type: ignore[arg-type]
    )
    step = train.make_train_step(model, losses.softmax_cross_entropy, optimizer)
    rounds = settings.rounds
    with tempfile.TemporaryDirectory(prefix="jaxcnn-bench-") as folder:
        os.environ["JAXCNN_CACHE_DIR"] = folder
        path = Path(folder) / "checkpoint"
        save = _seconds(rounds, lambda: checkpoint.save(path, ts, {}))
        content = (path / "arrays.npz").read_bytes()
        verify = _seconds(
            rounds, lambda: (checkpoint.read_manifest(path), hashlib.sha256(content).hexdigest())
        )
        like = jax.eval_shape(lambda: ts)
        load = _seconds(rounds, lambda: jax.block_until_ready(checkpoint.restore(path, like)))

        def compile_step() -> Any:
            jax.clear_caches()
            return jax.jit(step, donate_argnums=0).lower(ts, batch, key).compile()

        use_compile_cache()
        cold = _seconds(1, compile_step)
        cached = _seconds(rounds, compile_step)
    print(f"{settings.net}: checkpoint of {len(content) / 1e6:.1f} MB")
    print(f"save {1e3 * save:.1f} ms (arrays from the device, SHA-256, flushed to the disk)")
    print(f"load {1e3 * load:.1f} ms, of which verifying {1e3 * verify:.1f} ms")
    print(f"compile {1e3 * cold:.0f} ms, from the cache {1e3 * cached:.0f} ms")
    print(
        f"verifying is {100 * verify / (load + cold):.2f} % of load and compile, "
        f"{100 * verify / (load + cached):.2f} % where compiled programs are cached"
    )


def _seconds(rounds: int, work: Callable[[], Any]) -> float:
    """Median time of `work`."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main(tyro.cli(Settings, prog="python -m benchmarks.checkpoint"))
