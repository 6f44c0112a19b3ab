"""The measured networks, described once: every peer interprets these lists.

Only NumPy is imported here, so that the memory and start of a peer are its own.
Arrays are in jaxcnn's (and Flax's) layout: images NHWC, kernels HWIO, dense kernels IO.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

RATE, MOMENTUM = 0.01, 0.9
"""Every library makes steps of SGD with this rate and momentum, without weight decay."""


@dataclasses.dataclass(frozen=True)
class Conv:
    """Square convolution; what a stride leaves out at the edge is left out."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True


@dataclasses.dataclass(frozen=True)
class Dense:
    """Matrix product and bias."""

    units: int


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """By the statistics of the batch; running ones are kept, as in training."""

    decay: float = 0.9
    epsilon: float = 1e-5


@dataclasses.dataclass(frozen=True)
class LocalResponseNorm:
    """x / (k + alpha * sum of x^2 over `window` channels)^beta."""

    window: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """Largest value of each window, no padding."""

    window: int
    stride: int


@dataclasses.dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Drops this fraction and scales up the rest."""

    rate: float


@dataclasses.dataclass(frozen=True)
class Flatten:
    """[H, W, C] to [H * W * C]."""


@dataclasses.dataclass(frozen=True)
class GlobalMean:
    """Mean over height and width."""


@dataclasses.dataclass(frozen=True)
class Residual:
    """body(x) + x. With `halve` the second is every other pixel, zeros around its channels."""

    body: tuple[Layer, ...]
    halve: bool = False


Layer: TypeAlias = (
    Conv
    | Dense
    | BatchNorm
    | LocalResponseNorm
    | MaxPool
    | Relu
    | Dropout
    | Flatten
    | GlobalMean
    | Residual
)
Shape: TypeAlias = tuple[int, ...]
"""Of one example, without the batch: [H, W, C] or [units]."""

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]
"""One layer's parameters: `kernel` and `bias`, or `scale` and `bias`."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, and the batch on which its training step is timed."""

    title: str
    batch: int
    input: Shape
    layers: tuple[Layer, ...]

    @property
    def classes(self) -> int:
        """Number of outputs."""
        last = self.layers[-1]
        assert isinstance(last, Dense)  # noqa: S101  (true of every network below)
        return last.units

    @property
    def random(self) -> bool:
        """Whether a step draws random numbers, so that libraries' losses differ."""
        return any(isinstance(layer, Dropout) for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(math.prod(s) for shapes in parameter_shapes(self) for s in shapes.values())


def output_shape(layer: Layer, shape: Shape) -> Shape:
    """The shape of one example after `layer`."""
    match layer:
        case Conv(features, kernel, stride, padding):
            return (*_windows(shape, kernel, stride, padding), features)
        case MaxPool(window, stride):
            return (*_windows(shape, window, stride, 0), shape[-1])
        case Dense(units):
            return (units,)
        case Flatten():
            return (math.prod(shape),)
        case GlobalMean():
            return shape[-1:]
        case Residual(body):
            for inner in body:
                shape = output_shape(inner, shape)
            return shape
        case _:
            return shape


def walk(layers: tuple[Layer, ...], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Every layer with the shape it sees, in the order of execution, inner ones included."""
    for layer in layers:
        yield layer, shape
        if isinstance(layer, Residual):
            yield from walk(layer.body, shape)
        shape = output_shape(layer, shape)


def parameter_shapes(network: Network) -> list[dict[str, Shape]]:
    """Shapes of the parameters of each layer that has any, in the order of execution."""
    found: list[dict[str, Shape]] = []
    for layer, shape in walk(network.layers, network.input):
        match layer:
            case Conv(features, kernel, bias=bias):
                found.append({"kernel": (kernel, kernel, shape[-1], features)})
                if bias:
                    found[-1]["bias"] = (features,)
            case Dense(units):
                found.append({"kernel": (shape[-1], units), "bias": (units,)})
            case BatchNorm():
                found.append({"scale": shape[-1:], "bias": shape[-1:]})
    return found


def start(network: Network) -> list[Arrays]:
    """The parameters that every library starts from: the same numbers, LeCun's deviation."""
    rng = np.random.default_rng(0)

    def values(name: str, shape: Shape) -> np.ndarray[Any, Any]:
        if name == "kernel":
            deviation = np.float32(1 / math.sqrt(math.prod(shape[:-1])))
            return rng.standard_normal(shape, np.float32) * deviation
        return np.full(shape, float(name == "scale"), np.float32)

    return [
        {name: values(name, shape) for name, shape in shapes.items()}
        for shapes in parameter_shapes(network)
    ]


def batch(network: Network) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The one batch: normal images [N, H, W, C] in float32 and labels [N] in int32."""
    rng = np.random.default_rng(1)
    images = rng.standard_normal((network.batch, *network.input), np.float32)
    return images, rng.integers(network.classes, size=network.batch).astype(np.int32)


def find(name: str) -> Network:
    """Returns the network `name`.

    Raises:
      ConfigError: there is none of that name.
    """
    if name not in NETWORKS:
        from jaxcnn.errors import ConfigError  # JAX is loaded only where it is used

        raise ConfigError(f"network {name!r} is unknown: use any of {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def _windows(shape: Shape, window: int, stride: int, padding: int) -> Shape:
    return tuple((size + 2 * padding - window) // stride + 1 for size in shape[:2])


def _resnet20() -> tuple[Layer, ...]:
    def conv(features: int, stride: int = 1) -> Conv:
        return Conv(features, 3, stride=stride, padding=1, bias=False)

    layers: list[Layer] = [conv(16), BatchNorm(), Relu()]
    for features in (16, 32, 64):
        for number in range(3):
            halve = features > 16 and number == 0
            first = conv(features, 2 if halve else 1)
            body = (first, BatchNorm(), Relu(), conv(features), BatchNorm())
            layers += [Residual(body, halve), Relu()]
    return (*layers, GlobalMean(), Dense(10))


_LENET: tuple[Layer, ...] = (
    Conv(6, 5, padding=2),
    Relu(),
    MaxPool(2, 2),
    Conv(16, 5),
    Relu(),
    MaxPool(2, 2),
    Flatten(),
    Dense(120),
    Relu(),
    Dense(84),
    Relu(),
    Dense(10),
)
_CIFAR: tuple[Layer, ...] = (
    Conv(16, 5, padding=2),
    Relu(),
    MaxPool(2, 2),
    Conv(32, 5, padding=2),
    Relu(),
    MaxPool(2, 2),
    Flatten(),
    Dense(10),
)
_ALEXNET: tuple[Layer, ...] = (
    Conv(96, 11, stride=4),
    Relu(),
    LocalResponseNorm(),
    MaxPool(3, 2),
    Conv(256, 5, padding=2),
    Relu(),
    LocalResponseNorm(),
    MaxPool(3, 2),
    Conv(384, 3, padding=1),
    Relu(),
    Conv(384, 3, padding=1),
    Relu(),
    Conv(256, 3, padding=1),
    Relu(),
    MaxPool(3, 2),
    Flatten(),
    Dropout(0.5),
    Dense(4096),
    Relu(),
    Dropout(0.5),
    Dense(4096),
    Relu(),
    Dense(1000),
)

NETWORKS = {
    "lenet": Network("LeNet-5", 128, (28, 28, 1), _LENET),
    "cifar": Network("deck D's net", 100, (32, 32, 3), _CIFAR),
    "resnet20": Network("ResNet-20", 128, (32, 32, 3), _resnet20()),
    "alexnet": Network("AlexNet", 32, (227, 227, 3), _ALEXNET),
}

TINY = Network("one dense layer", 8, (4,), (Dense(10),))
"""So small that a step's time is Python's part of it."""
