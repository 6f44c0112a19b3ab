# mypy: disable-error-code="import-not-found"
# mypy: disallow-subclassing-any=False
"""PyTorch, eager as it comes; on a GPU also through `torch.compile`. Images are [N, C, H, W]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmarks import networks
from benchmarks.networks import Arrays, Layer, Network, Shape
from benchmarks.peers import Trainer
from benchmarks.peers.layout import batch_channels_first, start_channels_first

VERSION = torch.__version__


class _Mean(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.mean((2, 3))


class _Residual(nn.Module):
    def __init__(self, body: Any, halve: bool) -> None:
        super().__init__()
        self.body, self.halve = body, halve

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        if self.halve:
            channels = x.shape[1] // 2
            x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, channels, channels))
        return x + y


def _sequence(layers: tuple[Layer, ...], shape: Shape, values: Iterator[Arrays]) -> Any:
    modules = []
    for layer in layers:
        modules.append(_module(layer, shape, values))
        shape = networks.output_shape(layer, shape)
    return nn.Sequential(*modules)


def _module(layer: Layer, shape: Shape, values: Iterator[Arrays]) -> Any:
    match layer:
        case networks.Conv(features, kernel, stride, padding, bias):
            conv = nn.Conv2d(shape[-1], features, kernel, stride, padding, bias=bias)
            return _fill(conv, next(values))
        case networks.Dense(units):
            return _fill(nn.Linear(shape[-1], units), next(values))
        case networks.BatchNorm(decay, epsilon):
            return _fill(nn.BatchNorm2d(shape[-1], epsilon, 1 - decay), next(values))
        case networks.LocalResponseNorm(window, k, alpha, beta):
            return nn.LocalResponseNorm(window, window * alpha, beta, k)  # it takes the mean
        case networks.MaxPool(window, stride):
            return nn.MaxPool2d(window, stride)
        case networks.Relu():
            return nn.ReLU()
        case networks.Dropout(rate):
            return nn.Dropout(rate)
        case networks.Flatten():
            return nn.Flatten()
        case networks.GlobalMean():
            return _Mean()
        case networks.Residual(body, halve):
            return _Residual(_sequence(body, shape, values), halve)


def _fill(module: Any, arrays: Arrays) -> Any:
    with torch.no_grad():
        for name, array in arrays.items():
            place = getattr(module, {"kernel": "weight", "scale": "weight"}.get(name, name))
            place.copy_(torch.from_numpy(array))
    return module


def make(network: Network, compiled: bool = False) -> Trainer:
    """The usual five lines, in a loop."""
    return _Torch(network, compiled)


class _Torch:
    def __init__(self, network: Network, compiled: bool) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        images, labels = batch_channels_first(network)
        self._images = torch.from_numpy(images).to(self._device)
        self._labels = torch.from_numpy(labels).long().to(self._device)
        values = iter(start_channels_first(network))
        model = _sequence(network.layers, network.input, values).to(self._device)
        self.parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self._model = torch.compile(model) if compiled else model
        self._loss = nn.CrossEntropyLoss()
        self._sgd = torch.optim.SGD(
            model.parameters(), lr=networks.RATE, momentum=networks.MOMENTUM
        )

    def run(self, steps: int) -> float:
        for _ in range(steps):
            self._sgd.zero_grad()
            loss = self._loss(self._model(self._images), self._labels)
            loss.backward()
            self._sgd.step()
        if self._device == "cuda":
            torch.cuda.synchronize()
        return float(loss.detach())
