"""One training step of LeNet-5: jaxcnn's against plain JAX, `python -m benchmarks.lenet_step`.

The plain step is what a tutorial would write: `lax.conv_general_dilated`, `lax.reduce_window`,
log-softmax, Nesterov momentum and L2 by hand, on float32 batches that lie ready. jaxcnn's is the
one that the experiment runs: it also shuffles, gathers and scales stored pixels, masks, counts,
and checks that loss and gradients are finite. Rounds alternate; medians are printed.
"""

from __future__ import annotations

import functools
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn import data, losses, models, optim, train
from jaxcnn.data.batches import train_batch

BATCH, EXAMPLES, STEPS, ROUNDS = 128, 12_800, 50, 7


def plain_step(params: Any, velocity: Any, x: Any, labels: Any) -> Any:
    """LeNet-5 and Nesterov momentum without any library."""

    def conv(x: Any, p: Any, pad: int) -> Any:
        pads = [(pad, pad)] * 2
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, p["kernel"], (1, 1), pads, dimension_numbers=layout)
        return jax.nn.relu(y + p["bias"])

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def objective(p: Any) -> Any:
        y = pool(conv(x, p["conv1"], 2))
        y = pool(conv(y, p["conv2"], 0)).reshape(BATCH, -1)
        for name in ("dense1", "dense2"):
            y = jax.nn.relu(y @ p[name]["kernel"] + p[name]["bias"])
        logs = jax.nn.log_softmax(y @ p["logits"]["kernel"] + p["logits"]["bias"])
        return -jnp.mean(jnp.take_along_axis(logs, labels[:, None], 1))

    loss, grads = jax.value_and_grad(objective)(params)
    grads = {
        n: {"kernel": g["kernel"] + 5e-4 * params[n]["kernel"], "bias": g["bias"]}
        for n, g in grads.items()
    }
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    params = jax.tree.map(lambda w, v, g: w - 0.1 * (0.9 * v + g), params, velocity, grads)
    return params, velocity, loss


def main() -> None:
    """Prints the medians and their ratio."""
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.integers(256, size=(EXAMPLES, 28, 28, 1)), jnp.uint8)
    labels = jnp.asarray(rng.integers(10, size=EXAMPLES), jnp.int32)
    key = jax.random.key(0)
    model = models.lenet5()
    optimizer = optim.optimizer("nesterov", 0.1, weight_decay=5e-4)
    step = train.make_train_step(
        model, losses.softmax_cross_entropy, optimizer, prepare=data.Scale()
    )
    order = data.epoch_order(key, 0, EXAMPLES, BATCH)

    @functools.partial(jax.jit, donate_argnums=0)
    def ours(ts: Any, pixels: Any, labels: Any, order: Any, key: Any) -> Any:
        position = ts.step % (EXAMPLES // BATCH)
        batch = train_batch(
            pixels, labels, order, key, epoch=0, position=position, batch_size=BATCH
        )
        return step(ts, batch, key)

    plain = jax.jit(plain_step, donate_argnums=(0, 1))
    x, y = pixels[:BATCH].astype(jnp.float32) / 255, labels[:BATCH]
    ts = train.init_train_state(model, optimizer, key, (28, 28, 1))
    params = jax.tree.map(jnp.copy, ts.params)
    state: dict[str, Any] = {
        "plain JAX": (params, jax.tree.map(jnp.zeros_like, params)),
        "jaxcnn": (ts,),
    }

    def run_plain() -> None:
        p, v, loss = plain(*state["plain JAX"], x, y)
        state["plain JAX"] = (p, v)
        del loss

    def run_ours() -> None:
        ts, _ = ours(*state["jaxcnn"], pixels, labels, order, key)
        state["jaxcnn"] = (ts,)

    runs: dict[str, Callable[[], None]] = {"plain JAX": run_plain, "jaxcnn": run_ours}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):  # the first round compiles and warms up
        for name, run in runs.items():
            began = time.perf_counter()
            for _ in range(STEPS):
                run()
            jax.block_until_ready(state[name])
            times[name].append(1e3 * (time.perf_counter() - began) / STEPS)
    medians = {name: statistics.median(each[1:]) for name, each in times.items()}
    print(f"LeNet-5, batch {BATCH}, float32, {jax.devices()[0].device_kind}, JAX {jax.__version__}")
    print(f"Python {platform.python_version()}, {ROUNDS} rounds of {STEPS} steps")
    for name, median in medians.items():
        spread = f"{min(times[name][1:]):.2f} .. {max(times[name][1:]):.2f}"
        print(f"{name:10} {median:6.2f} ms a step ({spread}), {1e3 * BATCH / median:,.0f} images/s")
    print(f"jaxcnn / plain JAX: {medians['jaxcnn'] / medians['plain JAX']:.2f}")


if __name__ == "__main__":
    main()
