"""JAX without a library: what a tutorial would write."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import networks
from benchmarks.networks import Layer, Network
from benchmarks.peers import Trainer
from benchmarks.peers.arrays import count, cross_entropy, halve_and_pad, local_response_norm

VERSION = jax.__version__


def forward(
    layers: tuple[Layer, ...],
    params: list[Any],
    running: list[Any],
    x: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, list[Any]]:
    """Interprets a network while training.

    Args:
      layers: the network.
      params: arrays of each layer that has any, in the order of execution.
      running: (mean, variance) of each batch norm, in the order of execution.
      x: [N, ...] images.
      key: for dropout.

    Returns:
      Logits and the new running statistics.
    """
    own, old, new = iter(params), iter(running), []
    numbers = iter(range(1_000))

    def run(layers: tuple[Layer, ...], x: jax.Array) -> jax.Array:
        for layer in layers:
            x = one(layer, x)
        return x

    def one(layer: Layer, x: jax.Array) -> jax.Array:
        match layer:
            case networks.Conv(_, _, stride, padding, bias):
                p = next(own)
                y = lax.conv_general_dilated(
                    x,
                    p["kernel"],
                    (stride, stride),
                    [(padding, padding)] * 2,
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
                return y + p["bias"].reshape(1, 1, 1, -1) if bias else y
            case networks.Dense():
                p = next(own)
                return x @ p["kernel"] + p["bias"].reshape(1, -1)
            case networks.BatchNorm(decay, epsilon):
                p, before = next(own), next(old)
                mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
                now = lax.stop_gradient((mean, var))
                new.append(tuple(decay * a + (1 - decay) * b for a, b in zip(before, now)))  # noqa: B905
                scale = p["scale"] * lax.rsqrt(var + epsilon)
                wide = (1, 1, 1, -1)
                return (x - mean.reshape(wide)) * scale.reshape(wide) + p["bias"].reshape(wide)
            case networks.LocalResponseNorm():
                return local_response_norm(x, layer)
            case networks.MaxPool(window, stride):
                sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
                return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, "VALID")
            case networks.Relu():
                return jnp.maximum(x, 0)
            case networks.Dropout(rate):
                kept = jax.random.bernoulli(
                    jax.random.fold_in(key, next(numbers)), 1 - rate, x.shape
                )
                return jnp.where(kept, x / (1 - rate), 0)
            case networks.Flatten():
                return x.reshape(x.shape[0], -1)
            case networks.GlobalMean():
                return jnp.mean(x, (1, 2))
            case networks.Residual(body, halve):
                return run(body, x) + (halve_and_pad(x) if halve else x)

    return run(layers, x), new


def zero_statistics(network: Network) -> list[Any]:
    """Running statistics before the first step."""
    return [
        (jnp.zeros(shape[-1]), jnp.ones(shape[-1]))
        for layer, shape in networks.walk(network.layers, network.input)
        if isinstance(layer, networks.BatchNorm)
    ]


def make(network: Network) -> Trainer:
    """A jitted step, called in a loop."""
    return _Plain(network)


class _Plain:
    def __init__(self, network: Network) -> None:
        images, labels = networks.batch(network)
        self._batch = jax.device_put((images, labels))
        params = jax.device_put(networks.start(network))
        velocity = jax.tree.map(jnp.zeros_like, params)
        self.parameters = count(params)
        self._carry = (params, velocity, zero_statistics(network), jax.random.key(0))

        @functools.partial(jax.jit, donate_argnums=0)
        def step(carry: Any, images: jax.Array, labels: jax.Array) -> Any:
            params, velocity, running, key = carry
            key, now = jax.random.split(key)

            def objective(params: list[Any]) -> tuple[jax.Array, list[Any]]:
                logits, new = forward(network.layers, params, running, images, now)
                return cross_entropy(logits, labels), new

            (loss, running), grads = jax.value_and_grad(objective, has_aux=True)(params)
            velocity = jax.tree.map(lambda v, g: networks.MOMENTUM * v + g, velocity, grads)
            params = jax.tree.map(lambda w, v: w - networks.RATE * v, params, velocity)
            return (params, velocity, running, key), loss

        self._step = step

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._carry, loss = self._step(self._carry, *self._batch)
        jax.block_until_ready(self._carry)
        return float(loss)
