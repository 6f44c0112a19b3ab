"""What `fit` does about a step that is not finite: stop, leave its batch out, or go back.

No way accepts such a step (`guard.accept`), and each is bounded:

- "stop": the step before is the last. The default.
- "skip": the batch is left out; the step's number goes on, all else stays. After `limit` batches
  it stops. A batch is left out on the device, where the number is counted, so nothing waits.
  The rate's schedule counts updates: it falls behind by one for each batch that is left out.
- "rollback": back to the last state after which an interval of the log was finite, at a tenth
  of the rate, `limit` times at most (`RetryOnDivergence`). For what diverged, not for bad data:
  the same batches come again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn.errors import ConfigError, NumericalError
from jaxcnn.train.control import Monitored, Progress
from jaxcnn.train.fault import Fault
from jaxcnn.train.policies import RetryOnDivergence
from jaxcnn.train.state import TrainState
from jaxcnn.typing import Array

OnNonfinite: TypeAlias = Literal["stop", "skip", "rollback"]
"""What becomes of a training whose step is not finite."""

SKIP, ROLLBACK = "skip", "rollback"
"""Names under which `Progress.policies` keeps what was done; no other policy may have them."""


def with_rollback(
    on_nonfinite: OnNonfinite, limit: int, policies: Mapping[str, Monitored]
) -> dict[str, Monitored]:
    """The policies, and the one that goes back if that is wanted.

    Raises:
      ConfigError: a setting is not allowed, or a policy has a name that is taken.
    """
    if on_nonfinite not in get_args(OnNonfinite):
        raise ConfigError(
            f"on_nonfinite={on_nonfinite!r} is not allowed: use 'stop', 'skip' or 'rollback'."
        )
    if not isinstance(limit, int) or limit < 1:
        raise ConfigError(f"nonfinite_limit={limit!r} is not allowed: expected a positive int.")
    taken = sorted({SKIP, ROLLBACK} & set(policies))
    if taken:
        raise ConfigError(f"a policy may not be called {taken[0]!r}: that is what on_nonfinite is.")
    if on_nonfinite != ROLLBACK:
        return dict(policies)
    retry = RetryOnDivergence(most=limit, times=None)
    return {**policies, ROLLBACK: Monitored(retry, "train", "loss")}


def room(on_nonfinite: OnNonfinite, limit: int, start: Progress) -> NDArray[np.int32] | None:
    """Places for the numbers of steps that are left out, those of an earlier call filled in.

    Returns:
      [limit] int32, -1 where there is room; None if nothing is to be left out. (An empty array
      among the results of a `shard_map` crashes XLA: JAX 0.11.2, CPUs of several processes.)

    Raises:
      ConfigError: the training that goes on skipped batches and this one does not.
    """
    done = start.policies[SKIP]["state"]["steps"] if SKIP in start.policies else []
    if on_nonfinite != SKIP:
        if done:
            raise ConfigError(
                f"the training that goes on left out {len(done)} batches: pass "
                "on_nonfinite='skip' again."
            )
        return None
    return np.asarray(done + [-1] * (limit - len(done)), np.int32)


def leave_out(
    ts: TrainState, counts: dict[str, Array], skipped: Array | None
) -> tuple[TrainState, dict[str, Array], Array | None]:
    """After a step, on the device: if it was refused and there is room, its number goes on.

    Args:
      ts, counts: as `guard.accept` gave them.
      skipped: as `room` gave it, or this function after the step before.

    Returns:
      The three, changed; `counts["nonfinite"]` counts only steps for which there was no room.
    """
    if skipped is None:
        return ts, counts, None
    used = jnp.sum(skipped >= 0, dtype=jnp.int32)
    out = (counts["nonfinite"] > 0) & (used < skipped.size)
    here = jnp.arange(skipped.size, dtype=jnp.int32) == used
    skipped = jnp.where(out & here, ts.step, skipped)
    ts = ts._replace(step=ts.step + out.astype(ts.step.dtype))
    refused = jnp.where(out, 0, counts["nonfinite"])
    return ts, counts | {"nonfinite": refused}, skipped


def left_out(skipped: Array | NDArray[np.int32] | None) -> list[int]:
    """The numbers of the steps that were left out, in order."""
    if skipped is None:
        return []
    return [int(step) for step in np.asarray(skipped) if step >= 0]  # host sync here


def with_skipped(progress: Progress, skipped: Array | None) -> Progress:
    """The progress, with what was left out, so that a resumed training counts on."""
    if skipped is None:
        return progress
    entry: dict[str, Any] = {"state": {"steps": left_out(skipped)}, "factor": 1.0}
    return progress._replace(policies={**progress.policies, SKIP: entry})


def with_context(error: NumericalError, progress: Progress, fault: Fault | None) -> NumericalError:
    """The error, with what its catcher may save: the progress, and the fault if it was found."""
    error.progress = progress  # type: ignore[attr-defined]
    error.fault = fault  # type: ignore[attr-defined]
    if fault is not None and fault.place not in str(error):
        error.add_note(f"At step {fault.step} {fault.place} is not finite.")
    return error


def stopped(fault: Fault, progress: Progress, steps_per_epoch: int) -> NumericalError:
    """The error that ends a training at `fault`."""
    error = NumericalError(
        f"training stopped at step {fault.step} (epoch {fault.step // steps_per_epoch + 1}): "
        f"{fault.place} is not finite.\n"
        "The state before that step was kept. Try a lower learning rate or clip_norm."
    )
    if SKIP in progress.policies:
        steps = progress.policies[SKIP]["state"]["steps"]
        error.add_note(f"{len(steps)} batches had been left out, of steps {steps}.")
    return with_context(error, progress, fault)
