"""The rows of the tables: which module makes a step, and with which settings. Imports nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Library:
    """One row.

    Attributes:
      label: in the tables.
      module: has `VERSION` and `make`.
      package: what must be installed.
      options: of `make`.
      precision: JAX's default precision of matrix products, or None for its own choice.
      gpu: True for rows that say something only on a GPU.
      rough: True if losses differ from float32's by more than rounding of sums.
    """

    label: str
    module: str
    package: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    precision: str | None = None
    gpu: bool = False
    rough: bool = False


OURS = "benchmarks.ours"
LIBRARIES = {
    "jaxcnn": Library("jaxcnn", OURS, "jaxcnn"),
    "jaxcnn_single": Library("jaxcnn, one step a call", OURS, "jaxcnn", {"several": False}),
    "jaxcnn_highest": Library(
        "jaxcnn, float32 products", OURS, "jaxcnn", precision="highest", gpu=True
    ),
    "jaxcnn_tf32": Library(
        "jaxcnn, TF32 products", OURS, "jaxcnn", precision="tensorfloat32", gpu=True
    ),
    "jaxcnn_bfloat16": Library(
        "jaxcnn, bfloat16 compute", OURS, "jaxcnn", {"mixed": True}, rough=True
    ),
    "plain": Library("plain JAX", "benchmarks.peers.plain", "jax"),
    "flax": Library("Flax (nnx)", "benchmarks.peers.flax_nnx", "flax"),
    "equinox": Library("Equinox", "benchmarks.peers.equinox_net", "equinox"),
    "keras": Library("Keras (on JAX)", "benchmarks.peers.keras_net", "keras"),
    "torch": Library("PyTorch", "benchmarks.peers.torch_net", "torch"),
    "torch_compile": Library(
        "PyTorch, compiled", "benchmarks.peers.torch_net", "torch", {"compiled": True}, gpu=True
    ),
    "matrix": Library("matrix product", "benchmarks.matrix", "jax"),
}
PEERS = ("plain", "flax", "equinox", "keras", "torch")
"""What `--peers` may name."""


def rows(peers: tuple[str, ...], *, gpu: bool) -> list[str]:
    """Names of the rows of a table, jaxcnn's first."""

    def wanted(name: str, library: Library) -> bool:
        if name == "matrix" or (library.gpu and not gpu):
            return False
        return library.module == OURS or name.partition("_")[0] in peers

    return [name for name, library in LIBRARIES.items() if wanted(name, library)]
