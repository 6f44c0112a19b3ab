"""An experiment in several real processes: one writes, settings agree, a death ends all."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.run import RunFolder
from tests.processes import finish, meeting, member, start

COMMAND = [
    *("-m", "experiments.lenet", "--data", "digits", "--epochs", "3", "--steps-per-call", "1"),
    *("--join-timeout", "60", "--heartbeat", "10", "--expected", "0.1"),
]


def lenet(out: Path, *more: str, processes: int = 2):
    address = meeting()
    together = [member(address, process) for process in range(processes)] if processes > 1 else [{}]
    return [start([*COMMAND, "--out", str(out), *more], each) for each in together]


def only_run(out: Path) -> RunFolder:
    [path] = (out / "lenet").iterdir()
    return RunFolder(path)


def arrays(run: RunFolder) -> dict[str, np.ndarray]:
    with np.load(run.list_checkpoints()[-1] / "arrays.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    out = tmp_path_factory.mktemp("whole")
    ended = finish(lenet(out))
    for status, _, err in ended:
        assert status == 0, err
    (_, first, _), (_, second, _) = ended
    assert "4 devices in 2 processes" in first
    assert "test accuracy" in first
    assert "test accuracy" not in second
    return only_run(out)


@pytest.mark.slow
def test_one_process_writes_the_run(whole):
    assert whole.record.exists()
    epochs = [line["epoch"] for line in whole.history() if line["kind"] == "train"]
    assert epochs == sorted(set(epochs))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 1])
def test_a_death_ends_all_and_the_run_goes_on(whole, tmp_path, processes):
    workers = lenet(tmp_path)
    try:
        for line in workers[0].stdout:
            if "epoch 1/3" in line:
                break
        workers[1].send_signal(signal.SIGKILL)
        out, err = workers[0].communicate(timeout=90)
        assert workers[0].returncode != 0
        assert re.search("another task died|Connection closed by peer|unhealthy", err), err
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    run = only_run(tmp_path)
    resumed = finish(lenet(tmp_path, "--resume", str(run.path), processes=processes))
    for status, _, err in resumed:
        assert status == 0, err
    out = resumed[0][1]
    assert "going on with" in out
    got, wanted = arrays(run), arrays(whole)
    if processes == 2:
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array, err_msg=name)
    else:
        assert "trained on 4 device(s) before and on 2 now" in out
        for name, array in wanted.items():
            np.testing.assert_allclose(got[name], array, rtol=2e-2, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_a_request_to_stop_in_one_process_stops_all_at_the_same_step(tmp_path):
    workers = lenet(tmp_path)
    try:
        for line in workers[0].stdout:
            if "epoch 1/3" in line:
                break
        workers[1].send_signal(signal.SIGTERM)
        out, err = workers[0].communicate(timeout=90)
        assert workers[0].returncode == 128 + signal.SIGTERM, err
        workers[1].communicate(timeout=30)
        assert workers[1].returncode == 128 + signal.SIGTERM
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert "saved. To go on:" in out
    assert only_run(tmp_path).list_checkpoints()


@pytest.mark.slow
def test_processes_with_other_settings_are_told_so(tmp_path):
    address = meeting()
    workers = [
        start([*COMMAND, "--out", str(tmp_path), "--rate", rate], member(address, process))
        for process, rate in enumerate(("0.01", "0.02"))
    ]
    for status, _, err in finish(workers):
        assert status == 2
        assert "rate is 0.01 in process 0 and 0.02 in process 1" in err
    assert not (tmp_path / "lenet").exists()
