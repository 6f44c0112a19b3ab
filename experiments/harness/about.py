"""What a checkpoint of a run says of itself, beside its arrays: whether that can be.

A digest shows that nobody damaged it, not who wrote it. What is used while the training goes on
is looked at before, so that a strange checkpoint is passed over and not a traceback an hour later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.harness.config import BaseConfig
from experiments.harness.job import Job
from jaxcnn.errors import DamagedCheckpointError
from jaxcnn.train.nonfinite import SKIP, with_rollback
from jaxcnn.untrusted import field


def check_about(about: dict[str, Any], job: Job, config: BaseConfig, where: Path) -> None:
    """Raises unless `about` is what a run of these settings keeps with a checkpoint.

    Raises:
      DamagedCheckpointError: a field is missing, or not of the form it has; names it.
    """
    for name, kind in (("policies", dict), ("log_lines", int)):
        field(about, name, kind, where, error=DamagedCheckpointError)
    best = about.get("best", "missing")
    right = {
        "log_lines": about["log_lines"] >= 0,
        "best": best is None or _has_form(best, {"step": 0, "loss": 0.0}),
        "policies": _has_form(about["policies"], _policies(job, config)),
    }
    if right["policies"] and SKIP in about["policies"]:
        steps = about["policies"][SKIP]["state"]["steps"]
        right["policies"] = len(steps) <= config.nonfinite_limit and all(
            isinstance(step, int) and 0 <= step < about["step"] for step in steps
        )
    for name, is_right in right.items():
        if not is_right:
            found = repr(about.get(name, "missing"))[:60]
            raise DamagedCheckpointError(f"{where}: {name!r} is {found}: no run keeps that.")


def _policies(job: Job, config: BaseConfig) -> dict[str, Any]:
    """What `Progress.policies` holds before the first step."""
    policies = with_rollback(config.on_nonfinite, config.nonfinite_limit, job.policies)
    states: dict[str, Any] = {name: one.policy.start() for name, one in policies.items()}
    if config.on_nonfinite == SKIP:
        states[SKIP] = {"steps": []}
    return {name: {"state": state, "factor": 1.0} for name, state in states.items()}


def _has_form(value: Any, like: Any) -> bool:
    """Whether a JSON value could be a later value of `like`.

    A table has the same keys; a list holds numbers; what is None at first may become a number.
    """
    if isinstance(like, dict):
        return (
            isinstance(value, dict)
            and value.keys() == like.keys()
            and all(_has_form(value[name], like[name]) for name in like)
        )
    if isinstance(like, list):
        return isinstance(value, list) and all(_has_form(item, 0.0) for item in value)
    if like is None:
        return value is None or _has_form(value, 0.0)
    return type(value) is int or (type(value) is float and isinstance(like, float))
