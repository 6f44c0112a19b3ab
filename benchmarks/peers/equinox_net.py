# mypy: disable-error-code="import-not-found"
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False
"""Equinox: channels first, one example under `jax.vmap`, `filter_jit` with donation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from benchmarks import networks
from benchmarks.networks import Arrays, Layer, Network, Shape
from benchmarks.peers import Trainer
from benchmarks.peers.arrays import count, local_response_norm
from benchmarks.peers.layout import batch_channels_first, start_channels_first

VERSION = eqx.__version__
_AXIS = "batch"


class _Sequence(eqx.Module):
    """`eqx.nn.Sequential` hands every layer a key; here only those that draw get one."""

    layers: tuple[Any, ...]

    def __call__(self, x: Any, state: Any, key: Any) -> Any:
        for number, layer in enumerate(self.layers):
            if isinstance(layer, eqx.nn.BatchNorm):
                x, state = layer(x, state)
            elif isinstance(layer, eqx.nn.Dropout):
                x = layer(x, key=jax.random.fold_in(key, number))
            elif isinstance(layer, _Residual):
                x, state = layer(x, state, key)
            else:
                x = layer(x)
        return x, state


class _Residual(eqx.Module):
    body: _Sequence
    halve: bool = eqx.field(static=True)

    def __call__(self, x: Any, state: Any, key: Any) -> Any:
        y, state = self.body(x, state, key)
        if self.halve:
            channels = x.shape[0] // 2
            x = jnp.pad(x[:, ::2, ::2], ((channels, channels), (0, 0), (0, 0)))
        return x + y, state


def _sequence(layers: tuple[Layer, ...], shape: Shape, values: Iterator[Arrays]) -> _Sequence:
    modules = []
    for layer in layers:
        modules.append(_module(layer, shape, values))
        shape = networks.output_shape(layer, shape)
    return _Sequence(tuple(modules))


def _module(layer: Layer, shape: Shape, values: Iterator[Arrays]) -> Any:
    key = jax.random.key(0)  # what it draws is replaced by `networks.start`
    match layer:
        case networks.Conv(features, kernel, stride, padding, bias):
            conv = eqx.nn.Conv2d(
                shape[-1], features, kernel, stride, padding, use_bias=bias, key=key
            )
            return _fill(conv, next(values))
        case networks.Dense(units):
            return _fill(eqx.nn.Linear(shape[-1], units, key=key), next(values))
        case networks.BatchNorm(decay, epsilon):
            norm = eqx.nn.BatchNorm(shape[-1], _AXIS, epsilon, momentum=decay, mode="batch")
            return _fill(norm, next(values))
        case networks.LocalResponseNorm():
            return eqx.nn.Lambda(lambda x: local_response_norm(x, layer, axis=0))
        case networks.MaxPool(window, stride):
            return eqx.nn.MaxPool2d(window, stride)
        case networks.Relu():
            return eqx.nn.Lambda(jax.nn.relu)
        case networks.Dropout(rate):
            return eqx.nn.Dropout(rate)
        case networks.Flatten():
            return eqx.nn.Lambda(jnp.ravel)
        case networks.GlobalMean():
            return eqx.nn.Lambda(lambda x: jnp.mean(x, (1, 2)))
        case networks.Residual(body, halve):
            return _Residual(_sequence(body, shape, values), halve)


def _fill(module: Any, arrays: Arrays) -> Any:
    for name, array in arrays.items():
        place = {"kernel": "weight", "scale": "weight"}.get(name, name)
        module = eqx.tree_at(
            lambda m, place=place: getattr(m, place),
            module,
            jnp.asarray(array).reshape(getattr(module, place).shape),
        )
    return module


def make(network: Network) -> Trainer:
    """A `filter_jit`ted step, called in a loop."""
    return _Equinox(network)


class _Equinox:
    def __init__(self, network: Network) -> None:
        images, labels = batch_channels_first(network)
        self._batch = jax.device_put((images, labels))
        values = iter(start_channels_first(network))
        model, state = eqx.nn.make_with_state(_sequence)(network.layers, network.input, values)
        sgd = optax.sgd(networks.RATE, momentum=networks.MOMENTUM)
        trained = eqx.filter(model, eqx.is_inexact_array)
        self.parameters = count(trained)
        self._carry = (model, state, sgd.init(trained), jax.random.key(0))

        @eqx.filter_jit(donate="all-except-first")
        def step(batch: Any, carry: Any) -> Any:
            model, state, opt_state, key = carry
            images, labels = batch
            key, now = jax.random.split(key)

            @eqx.filter_value_and_grad(has_aux=True)
            def objective(model: Any) -> Any:
                keys = jax.random.split(now, images.shape[0])
                one = jax.vmap(model, in_axes=(0, None, 0), out_axes=(0, None), axis_name=_AXIS)
                logits, new = one(images, state, keys)
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return jnp.mean(losses), new

            (loss, state), grads = objective(model)
            updates, opt_state = sgd.update(grads, opt_state, model)
            return (eqx.apply_updates(model, updates), state, opt_state, key), loss

        self._step = step

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._carry, loss = self._step(self._batch, self._carry)
        jax.block_until_ready(eqx.filter(self._carry, eqx.is_array))
        return float(loss)
