# mypy: disable-error-code="import-not-found"
# mypy: disallow-subclassing-any=False
"""Keras on its JAX backend, by its own custom loop on JAX (`stateless_call`).

`train_on_batch` does the same and fetches the loss to Python at every step; the custom loop of
Keras' guide is its fastest public way of a step for each batch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import jax
import jax.numpy as jnp
import keras

from benchmarks import networks
from benchmarks.networks import Arrays, Layer, Network, Shape
from benchmarks.peers import Trainer
from benchmarks.peers.arrays import halve_and_pad, local_response_norm

VERSION = keras.__version__


class _Function(keras.layers.Layer):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


def _apply(layers: tuple[Layer, ...], x: Any, shape: Shape, owners: list[Any]) -> Any:
    for layer in layers:
        x = _one(layer, x, shape, owners)
        shape = networks.output_shape(layer, shape)
    return x


def _one(layer: Layer, x: Any, shape: Shape, owners: list[Any]) -> Any:
    """Runs a layer on a symbolic tensor; notes those that have parameters."""
    match layer:
        case networks.Conv(features, kernel, stride, padding, bias):
            same = stride == 1 and kernel == 2 * padding + 1  # "same" is then these zeros
            if padding and not same:
                x = keras.layers.ZeroPadding2D(padding)(x)
            own = keras.layers.Conv2D(
                features, kernel, stride, padding="same" if same else "valid", use_bias=bias
            )
        case networks.Dense(units):
            own = keras.layers.Dense(units)
        case networks.BatchNorm(decay, epsilon):
            own = keras.layers.BatchNormalization(momentum=decay, epsilon=epsilon)
        case networks.LocalResponseNorm():
            return _Function(functools.partial(local_response_norm, layer=layer))(x)
        case networks.MaxPool(window, stride):
            return keras.layers.MaxPooling2D(window, stride)(x)
        case networks.Relu():
            return keras.layers.ReLU()(x)
        case networks.Dropout(rate):
            return keras.layers.Dropout(rate)(x)
        case networks.Flatten():
            return keras.layers.Flatten()(x)
        case networks.GlobalMean():
            return keras.layers.GlobalAveragePooling2D()(x)
        case networks.Residual(body, halve):
            skip = _Function(halve_and_pad)(x) if halve else x
            return keras.layers.Add()([_apply(body, x, shape, owners), skip])
    owners.append(own)
    return own(x)


def _build(network: Network, values: Iterator[Arrays]) -> Any:
    owners: list[Any] = []
    inputs = keras.Input(network.input)
    model = keras.Model(inputs, _apply(network.layers, inputs, network.input, owners))
    for own, arrays in zip(owners, values, strict=True):
        for name, array in arrays.items():
            norm = isinstance(own, keras.layers.BatchNormalization)
            place = {"scale": "gamma", "bias": "beta"}[name] if norm else name
            getattr(own, place).assign(array)
    return model


def make(network: Network) -> Trainer:
    """A jitted step on the stateless model, called in a loop."""
    return _Keras(network)


class _Keras:
    def __init__(self, network: Network) -> None:
        images, labels = networks.batch(network)
        self._batch = jax.device_put((images, labels))
        model = _build(network, iter(networks.start(network)))
        optimizer = keras.optimizers.SGD(networks.RATE, momentum=networks.MOMENTUM)
        optimizer.build(model.trainable_variables)
        loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        # Copies: the step consumes its input, which must not be the variables' own arrays.
        self._carry = [[jnp.copy(v.value) for v in group] for group in groups]
        self.parameters = sum(v.size for v in self._carry[0])

        @functools.partial(jax.jit, donate_argnums=0)
        def step(carry: Any, images: jax.Array, labels: jax.Array) -> Any:
            trained, others, opt = carry

            def objective(trained: Any) -> Any:
                logits, new = model.stateless_call(trained, others, images, training=True)
                return loss_of(labels, logits), new

            (loss, others), grads = jax.value_and_grad(objective, has_aux=True)(trained)
            trained, opt = optimizer.stateless_apply(opt, grads, trained)
            return [trained, others, opt], loss

        self._step = step

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._carry, loss = self._step(self._carry, *self._batch)
        jax.block_until_ready(self._carry)
        return float(loss)
