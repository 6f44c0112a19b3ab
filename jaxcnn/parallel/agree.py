"""What several processes tell each other: small texts and numbers, never the rows of a batch.

Every process must call these functions, in the same order. A process that raised an error
instead would leave the others waiting; `on_main` therefore hands its error to all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from jaxcnn.errors import ConfigError, JaxcnnError
from jaxcnn.parallel.plan import Plan
from jaxcnn.parallel.start import ClusterError, is_main

Tree = TypeVar("Tree")
T = TypeVar("T")


def gather_texts(text: str) -> list[str]:
    """The texts of all processes, in the order of their numbers."""
    if jax.process_count() == 1:
        return [text]
    ours = np.frombuffer(text.encode(), np.uint8)
    sizes = _gather(np.array([ours.size], np.int32))[:, 0]
    padded = np.zeros(sizes.max(initial=1), np.uint8)
    padded[: ours.size] = ours
    return [row[:size].tobytes().decode() for row, size in zip(_gather(padded), sizes, strict=True)]


def least(number: int) -> int:
    """The least of the processes' numbers."""
    if jax.process_count() == 1:
        return number
    return int(_gather(np.array([number], np.int32)).min())


def require_same(what: str, values: Mapping[str, Any]) -> None:
    """Compares JSON values between processes.

    Args:
      what: of what they are, for the message.
      values: by name.

    Raises:
      ConfigError: two processes differ, in all processes; names the values.
    """
    texts = gather_texts(json.dumps(values, sort_keys=True, default=str))
    first = json.loads(texts[0])
    for process, text in enumerate(texts):
        other = json.loads(text)
        if other != first:
            differing = [
                f"{name} is {first.get(name)!r} in process 0 and {other.get(name)!r} in process "
                f"{process}"
                for name in sorted({*first, *other})
                if first.get(name) != other.get(name)
            ]
            raise ConfigError(
                f"the processes differ in their {what}: {'; '.join(differing)}.\n"
                "Start all of them with the same command, code and data."
            )


def on_main(function: Callable[[], str]) -> str:
    """Runs `function` in process 0 alone, and returns its text in all.

    Raises:
      JaxcnnError: what `function` raised in process 0; in the others a `ClusterError` that
        quotes it.
    """
    if jax.process_count() == 1:
        return function()
    answer: dict[str, str] = {}
    failure: JaxcnnError | None = None
    if is_main():
        try:
            answer = {"text": function()}
        except JaxcnnError as error:
            failure, answer = error, {"error": str(error)}
    answer = json.loads(gather_texts(json.dumps(answer))[0])
    if failure is not None:
        raise failure
    if "error" in answer:
        raise ClusterError(f"process 0 reports: {answer['error']}")
    return answer["text"]


def all_or_none(function: Callable[[], T]) -> T:
    """Runs `function` in every process; where it fails in one, all end with an error.

    Raises:
      JaxcnnError: what it raised here; or a `ClusterError` that quotes what it raised elsewhere.
    """
    if jax.process_count() == 1:
        return function()
    failure: JaxcnnError | None = None
    try:
        result = function()
    except JaxcnnError as error:
        failure = error
    errors = gather_texts(str(failure) if failure is not None else "")
    if failure is not None:
        raise failure
    for process, text in enumerate(errors):
        if text:
            raise ClusterError(f"process {process} reports: {text}")
    return result


def from_main(tree: Tree) -> Tree:
    """The arrays of process 0, bit for bit, in all processes; the structure must be the same.

    Args:
      tree: host arrays. In the other processes only their shapes and dtypes matter.
    """
    if jax.process_count() == 1:
        return tree

    def send(array: Any) -> NDArray[Any]:
        # As bytes: JAX adds zeros up to it, and -0.0 + 0.0 would be +0.0.
        host = np.asarray(array)
        flat = np.ascontiguousarray(host.reshape(-1)).view(np.uint8)
        raw = multihost_utils.broadcast_one_to_all(flat, is_source=is_main())
        return np.asarray(raw).view(host.dtype).reshape(host.shape)

    sent: Tree = jax.tree.map(send, tree)
    return sent


def _gather(array: NDArray[Any]) -> NDArray[Any]:
    """[processes, ...] of the arrays of all, which must have the same shape."""
    return np.asarray(multihost_utils.process_allgather(array))


class Vote:
    """Questions of yes or no that any process may answer with yes, and all hear alike.

    They hear it one call late: the answers are fetched when the devices have long had them, so
    that nobody waits. With one process they are heard at once.
    """

    def __init__(self, layout: Plan) -> None:
        self._layout = layout
        self._any = jax.jit(
            lambda wishes: jnp.max(wishes, axis=0), out_shardings=NamedSharding(layout.mesh, P())
        )
        self._pending: jax.Array | None = None

    def __call__(self, *wishes: bool) -> tuple[bool, ...]:
        """Casts this process's votes and returns the results of the vote before."""
        if self._layout.processes == 1:
            return wishes
        before = self._pending
        here = self._layout.devices // self._layout.processes
        self._pending = self._any(
            self._layout.place(np.tile(np.array(wishes, np.int32), (here, 1)))
        )
        if before is None:
            return (False,) * len(wishes)
        return tuple(bool(answer) for answer in np.asarray(before))
