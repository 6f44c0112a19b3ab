"""The libraries that jaxcnn is compared with: each file interprets `benchmarks.networks`.

Each module has `VERSION` and `make(network) -> Trainer`, and is imported only in the process
that measures it.
"""

from __future__ import annotations

from typing import Protocol


class Trainer(Protocol):
    """A network ready to be trained on its one batch, which lies on the device."""

    parameters: int
    """Trained parameters, counted by the library."""

    def run(self, steps: int) -> float:
        """Makes steps, waits for the device, and returns the last loss (or their mean)."""
        ...


class Peer(Protocol):
    """What the module of a library offers."""

    VERSION: str

    def make(self, network: object) -> Trainer:
        """Builds the network with `networks.start` as its parameters."""
        ...
