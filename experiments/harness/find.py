"""An experiment by its name, which may stand in a file that somebody else made."""

from __future__ import annotations

import importlib
from typing import Any

from experiments.harness.job import Experiment
from jaxcnn.errors import ConfigError


def find_experiment(name: str) -> Experiment[Any]:
    """The `EXPERIMENT` of `experiments/NAME.py`.

    Raises:
      ConfigError: there is none.
    """
    unknown = f"there is no experiment {str(name)[:80]!r}; 'make help' lists them."
    if not isinstance(name, str) or not name.isidentifier():  # so nothing outside this folder
        raise ConfigError(unknown)
    try:
        experiment: Experiment[Any] = importlib.import_module(f"experiments.{name}").EXPERIMENT
    except (ImportError, AttributeError) as error:
        raise ConfigError(unknown) from error
    return experiment
