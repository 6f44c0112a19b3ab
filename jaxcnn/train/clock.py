"""Where the wall time of a training goes."""

from __future__ import annotations

import time


class Clock:
    """Splits wall time into named parts."""

    def __init__(self) -> None:
        self.seconds = {"init": 0.0, "compile": 0.0, "train": 0.0, "eval": 0.0, "checkpoints": 0.0}
        self.reported = self._last = time.perf_counter()

    @staticmethod
    def now() -> float:
        return time.perf_counter()

    def lap(self, part: str) -> None:
        """Books the time since the last lap under `part`."""
        now = time.perf_counter()
        self.seconds[part] += now - self._last
        self._last = now
