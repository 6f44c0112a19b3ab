"""NaN and infinity put into input, loss, gradient and parameter: all caught, none is saved."""

from __future__ import annotations

import numpy as np
import pytest

from jaxcnn.errors import NumericalError
from jaxcnn.run import RunFolder
from tests.chaos.draws import draws, generator
from tests.poison import NAMED, PLACES, poisoned_fit

LOG_EVERY = 3
STEPS = 20  # 4 epochs of 5


def saved_leaves(run):
    for path in run.list_checkpoints():
        with np.load(path / "arrays.npz") as arrays:
            for name in arrays.files:
                if arrays[name].dtype.kind == "f":
                    yield path.name, name, arrays[name]


def test_every_fault_is_caught_named_and_never_saved(tmp_path):
    rng = generator()
    count = draws(4, 20)
    caught_in_time = bad_leaves = named = checkpoints = 0
    for number in range(count):
        place = PLACES[number % len(PLACES)]
        value = float(rng.choice([np.nan, np.inf, -np.inf]))
        # Inputs repeat in every epoch, so that their first time is in the first one.
        step = int(rng.integers(5 if place == "input" else STEPS))
        run = RunFolder.create(tmp_path, f"case{number}", 0)
        calls = []

        def save(progress, run=run):
            tree = {"train_state": progress.train_state, "kept": progress.kept}
            run.save_checkpoint(int(progress.train_state.step), tree, {}, keep=9)

        with pytest.raises(NumericalError) as error:
            poisoned_fit(
                place,
                step,
                value,
                log_every=LOG_EVERY,
                on_record=run.log,
                on_epoch=lambda epoch, progress, save=save: save(progress),
                should_stop=lambda calls=calls: bool(calls.append(1)),
            )
        save(error.value.progress)
        assert f"stopped at step {step} " in str(error.value), (place, step, value)
        named += NAMED[place] in str(error.value)
        assert error.value.fault.step == int(error.value.progress.train_state.step) == step
        logged = max((line["step"] for line in run.history()), default=0)
        assert logged <= step  # no line was written for an interval with a fault in it
        # The interval in which it happened, and the one after it, at whose end it is looked at.
        caught_in_time += len(calls) - step <= 2 * LOG_EVERY
        checkpoints += len(run.list_checkpoints())
        bad_leaves += sum(not np.isfinite(leaf).all() for _, _, leaf in saved_leaves(run))
    print(
        f"{caught_in_time}/{count} faults caught within one interval of the log, {named}/{count} "
        f"named; {bad_leaves} non-finite leaves in {checkpoints} checkpoints"
    )
    assert caught_in_time == named == count
    assert bad_leaves == 0
    assert checkpoints >= count
