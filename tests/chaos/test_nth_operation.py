"""The Nth call that changes the disk fails, for every N: the old is there, or the new, complete.

The way SQLite is tested: each operation is counted once, then made to fail at each of its calls in
turn, in each way; afterwards the folder is read, and used again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxcnn import checkpoint, storage
from jaxcnn.errors import OutputError
from jaxcnn.run import RunFolder
from tests.chaos.draws import FULL
from tests.chaos.faults import KINDS, Faults, installed
from tests.chaos.processes import ROOT, leftovers


def tree(step: int) -> dict[str, Any]:
    """Arrays that say which step they are of; of NumPy, so that no device is needed."""
    return {"w": np.full(50, step, np.float32), "step": np.int32(step)}


class Operation(NamedTuple):
    """What is done to a run folder that holds steps 5 and 10 and two lines of log."""

    work: Callable[[RunFolder], Any]
    allowed: set[int]  # steps of the newest good checkpoint afterwards, done or not
    lines: set[int]  # lengths of the log afterwards, done or not


def replace(run: RunFolder) -> None:
    """Saves a step that was saved before: the folder of its checkpoint is replaced."""
    run.save_checkpoint(10, tree(10), {"new": True}, keep=1)


OPERATIONS = {
    "save": Operation(
        lambda run: run.save_checkpoint(15, tree(15), {"new": True}, keep=2), {10, 15}, {2}
    ),
    "save, keep 1": Operation(
        lambda run: run.save_checkpoint(15, tree(15), {"new": True}, keep=1), {10, 15}, {2}
    ),
    "save the best": Operation(
        lambda run: run.save_checkpoint(15, tree(15), {"new": True}, 1, best=5), {10, 15}, {2}
    ),
    "save again": Operation(replace, {10}, {2}),
    "go back and save": Operation(
        lambda run: run.save_checkpoint(7, tree(7), {"new": True}, keep=1), {10, 7}, {2}
    ),
    "rewind": Operation(lambda run: run.rewind(5, 1), {10, 5}, {1, 2}),
    "log": Operation(lambda run: run.log({"step": 11, "loss": 0.5}), {10}, {2, 3}),
}


def prepared(root: Path) -> RunFolder:
    """The run folder before the operation."""
    run = RunFolder.create(root, "test", 0, {"seed": 0})
    for step in (5, 10):
        run.log({"step": step, "loss": 1.0})
        run.save_checkpoint(step, tree(step), {"new": False}, keep=2)
    return run


def check(run: RunFolder, operation: Operation) -> None:
    """Nothing is half: not the newest checkpoint, not any other, not the log; then it is used."""
    found, about = run.restore_newest(lambda about: tree(0), pytest.fail)
    step = int(found["step"])
    assert step == about["step"]
    assert step in operation.allowed
    np.testing.assert_array_equal(found["w"], tree(step)["w"])
    for path in run.list_checkpoints():
        whole = checkpoint.restore(path, tree(0))
        assert int(whole["step"]) == checkpoint.read_manifest(path)["about"]["step"]
    assert len(run.history()) in operation.lines
    assert json.loads(run.config.read_text()) == {"seed": 0}
    assert len(leftovers(run)) <= 2  # of a dead save; one more of a folder that it replaced
    run.rewind(step, about["log_lines"])
    run.save_checkpoint(20, tree(20), {"new": True}, keep=1)
    assert [path.name for path in run.list_checkpoints()] == ["step-00000020"]
    assert leftovers(run) == []


FEW = ("save again", "rewind", "log")
"""Operations of the fast suite."""


@pytest.mark.parametrize("name", OPERATIONS if FULL else FEW)
def test_every_call_fails_in_every_way(tmp_path, name):
    operation = OPERATIONS[name]
    counter = Faults()
    with installed(counter):
        operation.work(prepared(tmp_path / "count"))
    before = Faults()
    with installed(before):
        prepared(tmp_path / "before")
    calls = counter.calls[len(before.calls) :]
    cases = 0
    for kind in KINDS if FULL else KINDS[1:2] + KINDS[4:]:
        for at, call in enumerate(calls, 1):
            if kind.startswith("short") and call != "write":
                continue
            run = prepared(tmp_path / f"{kind}-{at}")
            with installed(Faults(kind, at)):
                if kind == "short":  # no error: another call writes the rest
                    operation.work(run)
                else:
                    with pytest.raises(OutputError, match="Choose a folder that you may write to"):
                        operation.work(run)
            check(run, operation)
            cases += 1
    print(f"{cases}/{cases} failures of {name!r} ({len(calls)} calls)")
    assert cases > len(calls)


DYING = """
import os, sys, warnings
warnings.simplefilter("ignore")  # JAX warns of every fork; it has no threads yet
from pathlib import Path
from tests.chaos.faults import Faults, installed
from tests.chaos.draws import FULL
from tests.chaos.test_nth_operation import FEW, OPERATIONS, check, prepared
root, total = Path(sys.argv[1]), 0
for name in OPERATIONS if FULL else FEW[:1]:
    operation = OPERATIONS[name]
    at, died = 0, True
    while died:
        at += 1
        run = prepared(root / f"{name}-{at}")
        child = os.fork()
        if child == 0:
            with installed(Faults("death", at)):
                operation.work(run)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        check(run, operation)
        total += died
print(total)
"""


def test_the_process_dies_at_every_call(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", DYING, tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    deaths = int(done.stdout)
    print(f"{deaths}/{deaths} deaths at a call that changes the disk")
    assert deaths > 30


def test_a_run_folder_appears_with_its_config_or_not_at_all(tmp_path):
    counter = Faults()
    with installed(counter):
        RunFolder.create(tmp_path / "count", "test", 0, {"seed": 0})
    for at in range(1, len(counter.calls) + 1):
        root = tmp_path / str(at)
        with installed(Faults("EIO from then on", at)), pytest.raises(OutputError):
            RunFolder.create(root, "test", 0, {"seed": 0})
        for run in RunFolder.list_runs(root, "test"):
            assert json.loads(run.config.read_text()) == {"seed": 0}
        RunFolder.create(root, "test", 0, {"seed": 0})
    print(f"{at}/{at} failures of making a run folder")


def test_what_is_reported_as_saved_was_flushed_before_and_after_the_rename(tmp_path):
    """Power loss: file, folder, rename, parent, in this order."""
    counter = Faults()
    run = prepared(tmp_path)
    with installed(counter):
        storage.write_bytes(run.path / "x", b"content")
    assert counter.calls == [
        *("open_file", "write", "sync", "close"),
        "replace",
        *("open_file", "sync", "close"),
    ]
    counter = Faults()
    with installed(counter):
        checkpoint.save(run.checkpoints / "step-00000015", tree(15), {})
    renamed = counter.calls.index("replace")
    assert counter.calls[:renamed].count("sync") == 2 + 2 + 1  # each file as written, in place, all
    assert counter.calls[renamed:] == ["replace", "open_file", "sync", "close"]
