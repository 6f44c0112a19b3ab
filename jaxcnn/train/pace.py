"""How many steps one call of the compiled program makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from jaxcnn.errors import ConfigError

LONGEST = 6.0
"""Seconds that a call may take: so long does a request to stop wait."""


class Pace:
    """Steps of each call: as asked for, or as many as fit into `LONGEST`.

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

    def steps(self, left: int) -> int:
        """Steps of the next call, of which at most `left` may be made."""
        return min(self._steps or 1, left)

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
                fit = int(LONGEST / max(time.perf_counter() - began, 1e-6))
                self._steps = max(1, self._agree(min(fit, 1 << 30)))
