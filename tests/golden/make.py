"""Writes the golden values anew: `python -m tests.golden.make --reason "..."`.

Only after a change that is meant to change results (another initialisation, another order of random
numbers, a corrected formula). The reason is kept in the file, and belongs into the commit.
`--only NAME` writes that file alone.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import tyro

from tests.golden.networks import GOLDEN, values

FOLDER = Path(__file__).parent
STEPS = (0, 1, 10, 100)


def main(reason: str, only: tuple[str, ...] = ()) -> None:
    """Computes and writes the values.

    Args:
      reason: Why they change.
      only: Names of networks; without it, all.
    """
    for name in only or GOLDEN:
        content = {
            "reason": reason,
            "versions": {package: metadata.version(package) for package in ("jax", "optax")},
            **values(name, STEPS),
        }
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(name, content["loss"])


if __name__ == "__main__":
    tyro.cli(main)
