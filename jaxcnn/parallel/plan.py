"""How one training step runs on many devices: three ways, one result.

The step is written once, with `axis_name` None or a name. What differs is who divides the work:

- "jit": nobody but the compiler. The step sees the whole batch; a sharding constraint says
  that its rows lie on different devices, and XLA adds what has to be exchanged. The default.
- "shard_map": the step runs once on each device, on its rows, and sums gradients, counts and
  batch statistics over the axis by name.
- "pmap": the same step by the older name, which JAX 0.10 keeps as `jit` of `shard_map`. Here
  without stacked state: everything goes in and comes out once, not once a device.

Parameters, optimizer and data are on every device ("replicated"); only rows are divided. All of it
holds for devices of several processes too: every process calls the same functions in the same
order, with the same values, but for `place`, which is given only its own rows.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.errors import ConfigError
from jaxcnn.functional import lowering
from jaxcnn.parallel.mapped import Mapped

Parallel: TypeAlias = Literal["auto", "jit", "shard_map", "pmap"]
"""How a step is spread over devices."""

AXIS = "data"
"""Name of the one mesh axis: examples are divided over it."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which devices take part, and by which way. Made by `plan`.

    Attributes:
      way: "jit", "shard_map" or "pmap"; on one device "jit", where nothing is divided.
      mesh: all devices of all processes along `AXIS`.
    """

    way: str
    mesh: Mesh

    @property
    def devices(self) -> int:
        """Number of devices."""
        return int(self.mesh.size)

    @property
    def processes(self) -> int:
        """Number of processes whose devices take part."""
        return len({device.process_index for device in self.mesh.devices.flat})

    @property
    def one_at_a_time(self) -> bool:
        """Whether a program must be done before the next one is started.

        The CPU devices of a process share a pool of threads. Two programs that both exchange
        something can then wait for each other until XLA aborts the process, 40 s later.
        """
        return self.devices > 1 and self.mesh.devices.flat[0].platform == "cpu"

    @property
    def axis_name(self) -> str | None:
        """What the step is told: the name of the axis, or None where it sees the whole batch."""
        return None if self.way == "jit" else AXIS

    def part(self) -> tuple[Any, int]:
        """Inside the step: which part of the rows it computes, of how many."""
        if self.axis_name is None:
            return 0, 1
        return jax.lax.axis_index(AXIS), self.devices

    def divide(self, batch: Any) -> Any:
        """Inside the step: says that the rows of `batch` lie on different devices."""
        if self.way != "jit" or self.devices == 1:
            return batch
        return jax.lax.with_sharding_constraint(batch, NamedSharding(self.mesh, P(AXIS)))

    def operations(self) -> AbstractContextManager[None]:
        """While a step is traced within it, operations are of a kind that can be divided.

        With "jit" on many devices these are XLA's own (see `functional.lowering`). XLA knows how to
        divide them, while ours for the CPU reorder axes until it no longer finds the rows, and
        gathers whole batches on every device: 160 times in a step of ResNet-20.
        """
        if self.way == "jit" and self.devices > 1:
            return lowering("xla")
        return nullcontext()

    def replicate(self, tree: Any) -> Any:
        """A copy of the arrays of `tree` on every device; the originals stay as they are.

        With several processes each must give the same values.

        What `jax.device_put` returns may share memory with its source, whatever `may_alias` says,
        and donating it to a step would delete the source as well. Hence the copy.
        """
        if self.processes > 1:
            return jax.tree.map(self._from_here, tree)
        return self.share(_copies(tree))

    def share(self, tree: Any) -> Any:
        """The arrays of `tree` on every device, as `replicate`, but without a copy where none is
        needed: they may share memory with the originals, so no call may consume them.
        """
        if self.processes > 1:
            return jax.tree.map(self._from_here, tree)
        if self.devices == 1:
            return jax.device_put(tree)
        return jax.device_put(tree, NamedSharding(self.mesh, P()))

    def _from_here(self, x: Any) -> jax.Array:
        """Makes an array of all processes of one that each has; nothing is sent."""
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            bits = self._from_here(jax.random.key_data(x))
            return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(x))
        host = np.asarray(x)
        everywhere = NamedSharding(self.mesh, P())
        return jax.make_array_from_callback(host.shape, everywhere, lambda index: host[index])

    def place(self, batch: Any) -> Any:
        """Puts this process's rows of a batch on its devices, for a `divided` argument.

        Args:
          batch: host arrays [rows of the batch / processes, ...].

        Returns:
          Arrays of the whole batch, of which each device has its rows.
        """
        rows = NamedSharding(self.mesh, P(AXIS))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(rows, x), batch)

    def compile(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any],
        *,
        donate: tuple[int, ...] = (),
        divided: tuple[int, ...] = (),
    ) -> Program:
        """Compiles `function` for all devices; what it returns is replicated.

        Args:
          function: calls `part` and `divide` inside.
          arguments: an example of each argument, or its shape and dtype.
          donate: numbers of the arguments that a call consumes.
          divided: numbers of the arguments whose rows are divided, as `place` returns them; the
            others are replicated. Where the axis has a name, `function` sees its device's rows.
        """
        if self.devices == 1 and self.axis_name is None:
            return jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
        specs = tuple(P(AXIS) if i in divided else P() for i in range(len(arguments)))
        if self.way == "pmap":
            return Mapped(function, arguments, self.mesh, donate, divided)
        if self.way == "shard_map":
            function = jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=P())
        jitted = jax.jit(
            function,
            in_shardings=tuple(NamedSharding(self.mesh, spec) for spec in specs),
            out_shardings=NamedSharding(self.mesh, P()),
            donate_argnums=donate,
        )
        with self.operations():
            return jitted.lower(*arguments).compile()


class Program(Protocol):
    """A compiled function, as `jax.stages.Compiled` is one."""

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        ...

    def as_text(self) -> str | None:
        """What it was compiled to, where collective operations can be counted."""
        ...

    def memory_analysis(self) -> Any:
        """Bytes of arguments, results and what is in between, on one device."""
        ...


def plan(
    parallel: Parallel, batch_size: int, devices: int | Sequence[jax.Device] | None = None
) -> Plan:
    """Decides how a step of `batch_size` rows, over all devices, runs.

    Args:
      parallel: "auto" is "jit".
      batch_size: the global one: rows of a step, all devices together.
      devices: which, or the number of them to take. None means all devices of all processes.

    Raises:
      ConfigError: `parallel` is unknown; the rows do not divide evenly; there are not as many
        devices; or they are of different kinds.

    >>> plan("auto", 32, jax.devices()[:1]).way
    'jit'
    """
    if parallel not in ("auto", "jit", "shard_map", "pmap"):
        raise ConfigError(
            f"parallel={parallel!r} is not allowed: use 'auto', 'jit', 'shard_map' or 'pmap'."
        )
    chosen = _chosen(devices)
    # Those of a process lie together, so that its rows of a batch are consecutive ones.
    chosen.sort(key=lambda device: device.process_index)
    if batch_size % len(chosen):
        raise ConfigError(
            f"batch_size={batch_size} does not divide over {len(chosen)} devices: it is the global "
            f"batch, all devices together. Use a multiple of {len(chosen)}, such as "
            f"{-(-batch_size // len(chosen)) * len(chosen)}."
        )
    mesh = Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))
    return Plan("jit" if parallel == "auto" else parallel, mesh)


def _chosen(devices: int | Sequence[jax.Device] | None) -> list[jax.Device]:
    """The devices of a mesh. Raises ConfigError where they cannot form one."""
    if isinstance(devices, int):
        found = all_devices()
        if not 1 <= devices <= len(found):
            raise ConfigError(
                f"devices={devices} is not allowed: there are {len(found)}, all processes "
                "together.\nTake 1 or more of them; to try a mesh on CPUs, set "
                "JAX_NUM_CPU_DEVICES before the program starts."
            )
        return found[:devices]
    chosen = list(all_devices() if devices is None else devices)
    if not chosen:
        raise ConfigError(
            "devices=() is not allowed: a step needs one device at least. Leave it out for all."
        )
    if len(set(chosen)) < len(chosen):
        raise ConfigError(
            f"the {len(chosen)} devices given are only {len(set(chosen))} different ones: a "
            "device takes one part of the rows. Name each once."
        )
    kinds = collections.Counter(f"{each.platform} {each.device_kind}" for each in chosen)
    if len(kinds) > 1:
        listed = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        raise ConfigError(
            f"the devices are of different kinds: {listed}. One program runs on all of them, so "
            f"they must be alike.\nName those of one kind, such as "
            f"devices=jax.devices({chosen[0].platform!r})."
        )
    return chosen


@jax.jit
def _copies(tree: Any) -> Any:
    """Fresh arrays, by one program: an eager copy would compile one for each shape."""
    return jax.tree.map(jnp.copy, tree)


def all_devices() -> list[jax.Device]:
    """Every device of every process."""
    return jax.devices()


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Puts a copy of every array on every device, as one array: for code ported from `pmap`.

    Where old code had `flax.jax_utils.replicate`, which stacks a copy a device along a new
    axis, nothing has to be stacked any more.
    """
    return plan("jit", len(devices or all_devices()), devices).replicate(tree)


def unreplicate(tree: Any) -> Any:
    """The arrays of `tree` on this process's host, as NumPy arrays, once each.

    For arrays as `replicate` makes them. State that old code stacked, a copy a device along the
    first axis, is unstacked by `jax.tree.map(lambda x: x[0], tree)`.
    """
    return jax.tree.map(np.asarray, tree)
