"""The start in the layout of libraries whose images are [N, C, H, W]. NumPy only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.networks import Arrays, Network, Shape


def start_channels_first(network: Network) -> list[Arrays]:
    """`networks.start` with kernels OIHW and OI.

    The dense layer after `Flatten` sees [C, H, W] flattened, so its rows change places.
    """
    values = iter(networks.start(network))
    maps: Shape | None = None
    found = []
    for layer, shape in networks.walk(network.layers, network.input):
        match layer:
            case networks.Flatten():
                maps = shape
            case networks.Conv():
                arrays = next(values)
                found.append(arrays | {"kernel": arrays["kernel"].transpose(3, 2, 0, 1)})
            case networks.Dense(units):
                arrays = next(values)
                kernel = arrays["kernel"]
                if maps is not None and len(maps) == 3:
                    by_place = kernel.reshape(*maps, units).transpose(2, 0, 1, 3)
                    kernel, maps = by_place.reshape(math.prod(maps), units), None
                found.append(arrays | {"kernel": kernel.T})
            case networks.BatchNorm():
                found.append(next(values))
    return [{n: np.ascontiguousarray(a) for n, a in arrays.items()} for arrays in found]


def batch_channels_first(network: Network) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """`networks.batch` with images [N, C, H, W], contiguous."""
    images, labels = networks.batch(network)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels
