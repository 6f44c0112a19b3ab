"""The networks of the scaling study. No JAX in it: the parent of the processes reads it too."""

from __future__ import annotations

import dataclasses

WAYS = ("jit", "shard_map", "pmap")
DEVICES = (1, 2, 4, 8)
STEPS = 3
"""Steps of SGD after which parameters are compared."""

RATE = 0.01
MASKED = 3
"""Rows of the batch that do not count, as in the last batch of an epoch: an uneven share."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, and the batch that is divided.

    Attributes:
      title: for people.
      model: name of a function in `jaxcnn.models`.
      input: [H, W, C].
      batch: rows of a step, all devices together.
      run: whether steps are made; else the step is only compiled, which needs no memory.
      devices: numbers of virtual devices.
      tolerance: largest difference that another order of adding up explains, after `STEPS` steps.
    """

    title: str
    model: str
    input: tuple[int, int, int]
    batch: int = 16
    run: bool = True
    devices: tuple[int, ...] = DEVICES
    tolerance: float = 1e-5


CASES = {
    "lenet": Case("LeNet-5", "lenet5", (28, 28, 1)),
    # Biases of batch norm start at 0 and move by some 1e-4; rounding in float32 moves them by
    # 5e-6. In float64 the difference is 3e-15: see docs/scaling.md.
    "resnet20": Case("ResNet-20", "resnet20", (32, 32, 3), tolerance=0.1),
    "alexnet-small": Case("AlexNet, 67x67 images", "alexnet", (67, 67, 3)),
    "alexnet": Case("AlexNet, 227x227 images", "alexnet", (227, 227, 3), run=False, devices=(8,)),
}
