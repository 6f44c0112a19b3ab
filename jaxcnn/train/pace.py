"""How many steps one call of the compiled program makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from jaxcnn.errors import ConfigError

ENOUGH = 1.0
"""Seconds after which longer calls gain nothing."""
FEW = 4
LONGEST = 4.0
"""Seconds that a call of up to `FEW` long steps may take: so long does a request to stop wait."""
LONG = 0.2
"""Seconds from which on a call is awaited before the next one is made."""


def fitting(seconds: float) -> int:
    """Steps of one call, if one step takes so many seconds.

    >>> fitting(0.005), fitting(0.5), fitting(1.7), fitting(30)
    (200, 4, 2, 1)
    """
    seconds = max(seconds, 1e-9)
    return max(1, int(ENOUGH / seconds), min(FEW, int(LONGEST / seconds)))


class Pace:
    """Steps of each call: as asked for, or as `fitting` says.

    A call allocates its memory once; on CPU the first use of fresh memory costs a small network
    as much as its arithmetic, so several steps are made at a time. Results do not depend on how
    many: the program is a loop, and a single step is the same loop run once.

    `agree` makes one number of those that several processes found: all must make the same calls.
    """

    def __init__(
        self, steps_per_call: int | None, agree: Callable[[int], int] = lambda steps: steps
    ) -> None:
        if steps_per_call is not None and (
            not isinstance(steps_per_call, int) or steps_per_call < 1
        ):
            raise ConfigError(
                f"steps_per_call={steps_per_call!r} is not allowed: expected a positive int, or "
                "None to choose by time."
            )
        self._steps = steps_per_call
        self._agree = agree
        self._timed = 0
        self._seconds = 0.0  # of a step, as far as is known

    def steps(self, left: int) -> int:
        """Steps of the next call, of which at most `left` may be made."""
        return min(self._steps or 1, left)

    def long(self, steps: int) -> bool:
        """Whether a call of so many steps is long, or not known to be short.

        Such a call is awaited, so that a request to stop waits for no second one. Of short calls
        two may be under way: then the device does not wait for Python.
        """
        return self._steps is None or self._seconds * steps >= LONG

    @contextmanager
    def watch(self) -> Iterator[list[Any]]:
        """Times the first calls, until the pace is known. What is put in the list is awaited."""
        results: list[Any] = []
        began = time.perf_counter()
        yield results
        if self._steps is None:
            jax.block_until_ready(results)
            self._timed += 1
            if self._timed == 2:  # the first call meets cold memory
                self._seconds = time.perf_counter() - began
                self._steps = max(1, self._agree(fitting(self._seconds)))
