"""How many times a random test is repeated, and with which seed.

`make test` runs each a few times, always the same ones. `make test-chaos` runs the whole counts
with a seed of the moment, which a failure prints; JAXCNN_CHAOS_SEED=... runs them again.
"""

from __future__ import annotations

import os
import secrets

import numpy as np

FULL = os.environ.get("JAXCNN_CHAOS") == "full"


def draws(few: int, whole: int) -> int:
    """`few` in the fast suite, `whole` in `make test-chaos`."""
    return whole if FULL else few


def generator() -> np.random.Generator:
    """A generator whose seed is printed; pytest shows it where the test fails."""
    given = os.environ.get("JAXCNN_CHAOS_SEED")
    seed = int(given) if given else secrets.randbits(32) if FULL else 0
    print(f"JAXCNN_CHAOS_SEED={seed}")
    return np.random.default_rng(seed)
