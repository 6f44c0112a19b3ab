"""A step by `pmap`: the older name, with the arguments and results of the other two ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


class Mapped:
    """A function compiled by `pmap`.

    pmap wants an argument that is divided over the devices of this process, so each device is given
    its number. Rows of a `divided` argument get an axis for the devices in front. Results, which
    pmap knows only on the devices here, become arrays of all devices again.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        mesh: Mesh,
        donate: tuple[int, ...],
        divided: tuple[int, ...],
    ) -> None:
        [axis] = mesh.axis_names
        devices = list(mesh.devices.flat)
        here = jax.process_index()
        self._numbers = np.arange(sum(d.process_index == here for d in devices), dtype=np.int32)
        self._divided = divided
        self._alone = len(self._numbers) == len(devices)
        self._everywhere = NamedSharding(mesh, P())
        mapped = jax.pmap(
            lambda number, *rest: function(*rest),
            axis_name=axis,
            in_axes=(0, *(0 if i in divided else None for i in range(len(arguments)))),
            out_axes=None,
            donate_argnums=tuple(1 + i for i in donate),
            devices=devices,
        )
        self._compiled = mapped.lower(self._numbers, *self._given(arguments)).compile()
        # With several processes what `compile` returns wants the numbers of all devices, of which
        # each process has only its own; called, pmap finds the program that was compiled.
        self._run = self._compiled if self._alone else mapped

    def __call__(self, *arguments: Any) -> Any:
        results = self._run(self._numbers, *self._given(arguments))
        return results if self._alone else jax.tree.map(self._of_all, results)

    def as_text(self) -> str | None:
        """What it was compiled to."""
        text: str | None = self._compiled.as_text()
        return text

    def memory_analysis(self) -> Any:
        """Bytes of arguments, results and what is in between, on one device."""
        return self._compiled.memory_analysis()

    def _given(self, arguments: Sequence[Any]) -> list[Any]:
        return [
            jax.tree.map(self._by_device, argument) if i in self._divided else argument
            for i, argument in enumerate(arguments)
        ]

    def _by_device(self, x: Any) -> Any:
        """[rows, ...] to [devices here, rows of each, ...]."""
        if not isinstance(x, jax.Array):  # an example of shape and dtype
            rows = x.shape[0] // self._everywhere.mesh.size
            return jax.ShapeDtypeStruct((len(self._numbers), rows, *x.shape[1:]), x.dtype)
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        return np.stack([np.asarray(shard.data) for shard in shards])

    def _of_all(self, x: jax.Array) -> jax.Array:
        shards = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, self._everywhere, shards)
