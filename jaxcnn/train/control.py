"""Policies at work: what they see, the states they keep to go back to, the rate they set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import optim
from jaxcnn.errors import ConfigError
from jaxcnn.train.policies import Policy
from jaxcnn.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Monitored:
    """A policy and the number that it watches.

    Attributes:
      policy: `ReduceOnPlateau`, `StepBack`, `RetryOnDivergence` or your own.
      split: name of an evaluated set, whose metric is seen after each epoch; or "train", whose
        metric is seen after each interval of the log.
      metric: "loss" or "accuracy". Mind the policy's `better`.
    """

    policy: Policy
    split: str = "validation"
    metric: str = "loss"


class Progress(NamedTuple):
    """All that a training needs to go on: the train state, and what its policies know.

    Attributes:
      train_state: arrays.
      policies: by policy name, its state and its factor of the rate: plain JSON values.
      kept: by policy name, the train state to go back to.
    """

    train_state: TrainState
    policies: dict[str, dict[str, Any]]
    kept: dict[str, TrainState]


class Control:
    """Shows values to the policies and carries out what they decide.

    The loss of an interval of training judges the state at its beginning: the last update has not
    been looked at yet. So what a policy that watches "train" goes back to is the state before
    the last good interval; that after it (`_unproven`) is kept once the next one is good too. An
    evaluation judges the state as it is.
    """

    def __init__(self, policies: Mapping[str, Monitored], start: Progress) -> None:
        unknown = sorted(set(start.policies) ^ set(policies)) if start.policies else []
        if unknown:
            raise ConfigError(
                f"the training that goes on had other policies: {', '.join(unknown)} differ."
            )
        self._monitored = dict(policies)
        fresh = {
            name: {"state": monitored.policy.start(), "factor": 1.0}
            for name, monitored in policies.items()
        }
        self._states = {**fresh, **start.policies}
        self._kept = {
            name: copy_state(start.kept.get(name, start.train_state)) for name in policies
        }
        self._unproven = copy_state(start.train_state) if self.watches_training else None

    @property
    def watches_training(self) -> bool:
        """Whether a policy must see every interval before the next one begins."""
        return any(monitored.split == "train" for monitored in self._monitored.values())

    def progress(self, ts: TrainState) -> Progress:
        """What has to be stored to go on from `ts`."""
        return Progress(ts, dict(self._states), dict(self._kept))

    def see(
        self, split: str, values: Mapping[str, float], ts: TrainState
    ) -> tuple[TrainState, list[dict[str, Any]]]:
        """Shows the metrics of `split` to the policies that watch it.

        Returns:
          The train state to go on with, which may be an earlier one, and a line for the log for
          each policy that changed something.
        """
        lines = []
        before = ts
        for name, monitored in self._monitored.items():
            if monitored.split != split:
                continue
            state, decision = monitored.policy.update(
                self._states[name]["state"], float(values[monitored.metric])
            )
            self._states[name] = {"state": state, "factor": decision.factor}
            if decision.go_back:
                ts = copy_state(self._kept[name])
            elif decision.keep:
                unproven = self._unproven if split == "train" else None
                self._kept[name] = unproven or copy_state(ts)
            factor = math.prod(entry["factor"] for entry in self._states.values())
            changed = np.float32(factor) != np.asarray(optim.rate_factor(ts.opt_state))
            if decision.go_back or changed:
                ts = ts._replace(opt_state=optim.with_rate_factor(ts.opt_state, factor))
                lines.append(
                    {
                        "kind": "policy",
                        "policy": name,
                        "step": int(ts.step),
                        "went_back": decision.go_back,
                        "rate_factor": factor,
                    }
                )
        if self._unproven is not None and (split == "train" or ts is not before):
            self._unproven = copy_state(ts)
        return ts, lines

    def pass_over(self, ts: TrainState) -> None:
        """After an interval whose every batch was left out: `ts` is what is yet to be judged.

        As for a training that goes on from `ts`, which knows no earlier state.
        """
        if self._unproven is not None:
            self._unproven = copy_state(ts)


@jax.jit  # one program, not one for each shape
def copy_state(ts: TrainState) -> TrainState:
    """A copy on the device, which outlives the steps that consume their input."""
    return jax.tree.map(jnp.copy, ts)
