"""SIGKILL at any moment, the same command again: the same bits as if nothing had happened."""

from __future__ import annotations

import re
import shutil

import pytest

from jaxcnn.run import RunFolder
from tests.chaos.draws import FULL, draws, generator
from tests.chaos.processes import arrays, finish, kill_after, leftovers, only_run, story

TINY, LENET, SMALL = "tests.chaos.tiny", "experiments.lenet", "experiments.small_cnn"
KILLED = "tests.chaos.killed_in_a_save"
DIGITS = ("--data", "digits", "--expected", "0.1")
FLAGS = {
    TINY: (),
    LENET: (*DIGITS, "--epochs", "4"),
    SMALL: (*DIGITS, "--epochs", "2", "--validation", "100", "--batch-size", "256"),
}
"""What is killed. `small_cnn` has batch norm, dropout and distorted images. The fast suite kills
the made-up training alone: the others take seconds longer to start and to finish."""
IN_TURN = (LENET, SMALL) if FULL else (TINY,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted: flags, arrays, log and seconds of an experiment, made once."""
    made = {}

    def of(module):
        if module not in made:
            out = tmp_path_factory.mktemp("whole")
            for _ in range(draws(1, 2)):  # for the second, compiled programs are in the cache
                status, screen, seconds = finish(module, *FLAGS[module], "--out", out)
                assert status == 0, screen
            run = RunFolder.list_runs(out, module.rpartition(".")[2])[-1]
            made[module] = arrays(run), story(run), seconds
        return made[module]

    return of


def check(out, module, reference):
    run = only_run(out, module.rpartition(".")[2])
    assert arrays(run) == reference[0]
    assert story(run) == reference[1]
    assert leftovers(run) == []
    assert not run.lock.exists()


def test_killed_at_random_moments(tmp_path, whole):
    rng = generator()
    count, kills = draws(1, 50), 0
    killed = [IN_TURN[case % len(IN_TURN)] for case in range(count)]
    for case, module in enumerate(killed):
        reference = whole(module)
        often = rng.choice(["None", "0.001"])  # minutes between checkpoints inside epochs
        command = (module, *FLAGS[module], "--out", tmp_path / str(case), "--resume", "auto")
        command = (*command, "--save-minutes", often)
        first, *others = rng.uniform(0.1, 1, size=draws(1, 2)) * reference[2]
        while not kill_after(first, *command):  # the machine was slower before: it has ended
            shutil.rmtree(tmp_path / str(case))
            first /= 2
        kills += 1 + sum(kill_after(moment, *command) for moment in others)
        status, screen, _ = finish(*command)
        assert status == 0, screen
        check(tmp_path / str(case), module, reference)
    status, screen, _ = finish(*command)
    assert status == 0
    assert "is complete. For another run leave --resume auto out." in screen
    check(tmp_path / str(case), module, reference)
    each = ", ".join(f"{killed.count(module)} {module}" for module in sorted(set(killed)))
    print(f"{count}/{count} trainings ({each}) killed {kills} times: the same bits")


def test_killed_inside_a_save(tmp_path, whole):
    rng = generator()
    killed = [IN_TURN[case % len(IN_TURN)] for case in range(draws(1, 10))]
    calls, moments = {}, {}
    for module in IN_TURN:
        status, screen, _ = finish(KILLED, 0, module, *FLAGS[module], "--out", tmp_path / "whole")
        assert status == 0, screen
        calls[module] = int(re.search(r"(\d+) calls inside saves", screen)[1])
        moments[module] = rng.permutation(calls[module]) + 1
    for case, module in enumerate(killed):
        at = moments[module][case]
        flags = (*FLAGS[module], "--out", tmp_path / str(case), "--resume", "auto")
        status, screen, _ = finish(KILLED, at, module, *flags)
        assert status == -9, screen
        status, screen, _ = finish(module, *flags)
        assert status == 0, screen
        assert "going on with" in screen
        check(tmp_path / str(case), module, whole(module))
    count = len(killed)
    print(f"{count}/{count} killed inside a save, at one of {calls} calls: the same bits")
