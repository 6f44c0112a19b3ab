"""Choosing a learning rate for each of several kinds, by validation, never by the test set."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from experiments.harness.lab import Figures


def best_rate(rates: Sequence[float], train: Callable[[float], Figures]) -> float:
    """The rate whose training ends with the lowest loss on the held-out set "validation".

    Args:
      rates: those that are tried.
      train: trains with one and returns the figures of `Lab.train`.
    """

    def loss(rate: float) -> float:
        held_out = train(rate)["validation"]
        return float(held_out[-1][1]) if held_out else float("inf")  # it diverged

    return min(rates, key=loss)


def mean(values: Sequence[float]) -> float:
    """The mean, of one value too."""
    return statistics.fmean(values)


def deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation; 0 for one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def percent(values: Sequence[float]) -> str:
    """Fractions as "99.12 % (0.05)": mean and deviation."""
    return f"{100 * mean(values):.2f} % ({100 * deviation(values):.2f})"
