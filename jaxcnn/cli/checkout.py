"""The experiments: they are beside jaxcnn in a checkout, and not part of what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jaxcnn
from jaxcnn.errors import ConfigError


def find(name: str, places: Sequence[Path] | None = None) -> Path:
    """The folder that holds `experiments/NAME.py`.

    Args:
      name: of an experiment, or of another module beside them.
      places: folders to look in; None: this one, and the one that jaxcnn was imported from.

    Raises:
      ConfigError: it is in none of them.
    """
    tried = [Path.cwd(), Path(jaxcnn.__file__).parent.parent] if places is None else list(places)
    if name.isidentifier():  # it comes from a file, and becomes part of a path
        for place in tried:
            if (place / "experiments" / f"{name}.py").is_file():
                return place
    raise ConfigError(
        f"experiments/{name}.py is not in {' or '.join(map(str, tried))}.\n"
        "Experiments are not installed with jaxcnn: change into a checkout of it, and try again."
    )


def start(name: str, arguments: Sequence[str]) -> int:
    """Runs `python -m experiments.NAME` here, with the code of the checkout; its exit status."""
    root = find(name)
    old = os.environ.get("PYTHONPATH")
    path = str(root) if not old else f"{root}{os.pathsep}{old}"
    command = [sys.executable, "-m", f"experiments.{name}", *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
