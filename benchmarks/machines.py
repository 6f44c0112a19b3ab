"""Accelerators and the links between them, as their makers state them: input to `predict`.

Nothing here was measured by this project. Change the numbers to those of your own machines: what
one of them reaches alone, images a second, can be measured by `python -m benchmarks.run`.
"""

from __future__ import annotations

import dataclasses
import math

REACHED = 0.8
"""Part of a link's nominal rate that large messages reach: an assumption."""

UTILIZATION = 0.2
"""Part of the peak of matrix products that training a convolutional network reaches. ResNet-50 on
one A100 in mixed precision: 2,470 images/s of 24.5 GFLOP each are 61 of 312 TFLOP/s (NVIDIA,
DeepLearningExamples, PyTorch ResNet-50 v1.5, 21.03). For the others it is an assumption."""

LEAST_STEP = 150e-6
"""Seconds that a step takes however small the network is, some thirty kernels to be started: an
assumption, which matters for LeNet-5 alone."""


@dataclasses.dataclass(frozen=True)
class Level:
    """Devices that are linked alike.

    Attributes:
      devices: how many at most, or of the level below how many groups.
      bandwidth: bytes a second that one device sends, while it receives as many.
      hop: seconds until the next device has a small message.
    """

    devices: int
    bandwidth: float
    hop: float


@dataclasses.dataclass(frozen=True)
class Machine:
    """A cluster.

    Attributes:
      title: for people.
      peak: FLOP/s of one device, dense bfloat16 products.
      levels: links, the inner ones first.
      start: seconds an all-reduce costs before anything is sent.
      source: where the numbers are from.
    """

    title: str
    peak: float
    levels: tuple[Level, ...]
    start: float
    source: str

    @property
    def sustained(self) -> float:
        """FLOP/s that training reaches."""
        return UTILIZATION * self.peak


_MANY = 4096  # as many hosts as a table asks for

# NCCL's own model of rings, protocol "simple": 8.4 us an all-reduce, 3.4 us a hop over NVLink,
# 14 us over a network (NCCL, src/graph/tuning.cc).
_NCCL_START, _NVLINK_HOP, _NETWORK_HOP = 8.4e-6, 3.4e-6, 14e-6
_A100 = 312e12

A100_INFINIBAND = Machine(
    "A100, InfiniBand",
    _A100,
    (
        Level(8, REACHED * 300e9, _NVLINK_HOP),
        Level(_MANY, REACHED * 200e9 / 8, _NETWORK_HOP),
    ),
    _NCCL_START,
    "hosts of 8, joined by NVLink, each with its own adapter of 200 Gb/s (NVIDIA A100 data sheet: "
    "312 TFLOP/s, NVLink 600 GB/s in both directions together; DGX A100 user guide: eight HDR "
    "adapters)",
)
A100_ETHERNET = Machine(
    "A100, Ethernet",
    _A100,
    (Level(_MANY, REACHED * 10e9 / 8, _NETWORK_HOP),),
    _NCCL_START,
    "hosts of one such GPU with 10GBASE-T of IEEE 802.3, 10 Gb/s in each direction: what many "
    "laboratories have",
)
TPU_V5P = Machine(
    "TPU v5p",
    459e12,
    (Level(8960, REACHED * 600e9, 1e-6),),
    1e-6,
    "one pod (Google Cloud documentation: 459 TFLOP/s, ICI 1200 GB/s in both directions together, "
    "8960 chips); a microsecond a hop is an assumption",
)
MACHINES = (A100_INFINIBAND, A100_ETHERNET, TPU_V5P)


def hops(devices: int) -> int:
    """Hops on the longest path of a sum over a binary tree and back.

    Libraries send small messages over trees and large ones over rings or two trees, so both the
    fewest hops and the fewest bytes are reached (NCCL 2.4).

    >>> [hops(n) for n in (1, 2, 8, 64)]
    [0, 2, 6, 12]
    """
    return 2 * math.ceil(math.log2(devices))
