"""Flax's nnx: modules split once, a functional step under `jax.jit` (its performance guide)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks import networks
from benchmarks.networks import Arrays, Layer, Network, Shape
from benchmarks.peers import Trainer
from benchmarks.peers.arrays import count, halve_and_pad, local_response_norm

VERSION = flax.__version__
_ZEROS = nnx.initializers.zeros  # replaced by `networks.start`


class _Function(nnx.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class _Residual(nnx.Module):
    def __init__(self, body: Any, halve: bool) -> None:
        self.body, self.halve = body, halve

    def __call__(self, x: Any) -> Any:
        return self.body(x) + (halve_and_pad(x) if self.halve else x)


def _sequence(
    layers: tuple[Layer, ...], shape: Shape, values: Iterator[Arrays], rngs: nnx.Rngs
) -> Any:
    modules = []
    for layer in layers:
        modules.append(_module(layer, shape, values, rngs))
        shape = networks.output_shape(layer, shape)
    return nnx.Sequential(*modules)


def _module(layer: Layer, shape: Shape, values: Iterator[Arrays], rngs: nnx.Rngs) -> Any:
    match layer:
        case networks.Conv(features, kernel, stride, padding, bias):
            return _fill(
                nnx.Conv(
                    shape[-1],
                    features,
                    (kernel, kernel),
                    stride,
                    padding=padding,
                    use_bias=bias,
                    kernel_init=_ZEROS,
                    rngs=rngs,
                ),
                next(values),
            )
        case networks.Dense(units):
            dense = nnx.Linear(shape[-1], units, kernel_init=_ZEROS, rngs=rngs)
            return _fill(dense, next(values))
        case networks.BatchNorm(decay, epsilon):
            norm = nnx.BatchNorm(shape[-1], momentum=decay, epsilon=epsilon, rngs=rngs)
            return _fill(norm, next(values))
        case networks.LocalResponseNorm():
            return _Function(functools.partial(local_response_norm, layer=layer))
        case networks.MaxPool(window, stride):
            sizes, strides = (window, window), (stride, stride)
            return _Function(functools.partial(nnx.max_pool, window_shape=sizes, strides=strides))
        case networks.Relu():
            return _Function(nnx.relu)
        case networks.Dropout(rate):
            return nnx.Dropout(rate, rngs=rngs)
        case networks.Flatten():
            return _Function(lambda x: x.reshape(x.shape[0], -1))
        case networks.GlobalMean():
            return _Function(lambda x: jnp.mean(x, (1, 2)))
        case networks.Residual(body, halve):
            return _Residual(_sequence(body, shape, values, rngs), halve)


def _fill(module: Any, arrays: Arrays) -> Any:
    for name, array in arrays.items():
        setattr(module, name, nnx.Param(jnp.asarray(array)))
    return module


def make(network: Network) -> Trainer:
    """A jitted step on the split state, called in a loop."""
    return _Flax(network)


class _Flax:
    def __init__(self, network: Network) -> None:
        images, labels = networks.batch(network)
        self._batch = jax.device_put((images, labels))
        values = iter(networks.start(network))
        model = _sequence(network.layers, network.input, values, nnx.Rngs(0))
        sgd = optax.sgd(networks.RATE, momentum=networks.MOMENTUM)
        optimizer = nnx.Optimizer(model, sgd, wrt=nnx.Param)
        self.parameters = count(nnx.state(model, nnx.Param))
        graph, self._state = nnx.split((model, optimizer))

        @functools.partial(jax.jit, donate_argnums=0)
        def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
            model, optimizer = nnx.merge(graph, state)

            def objective(model: Any) -> jax.Array:
                losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
                return jnp.mean(losses)

            loss, grads = nnx.value_and_grad(objective)(model)
            optimizer.update(model, grads)
            return nnx.state((model, optimizer)), loss

        self._step = step

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._state, loss = self._step(self._state, *self._batch)
        jax.block_until_ready(self._state)
        return float(loss)
