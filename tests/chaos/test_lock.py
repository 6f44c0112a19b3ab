"""The lock of a run folder: one process at a time, and none after a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest

from jaxcnn import disk, lock
from jaxcnn.errors import LockedError, OutputError
from tests.chaos.draws import draws
from tests.chaos.processes import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from jaxcnn import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold the lock; ends them at last."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path / "lock"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_another_process_is_refused_and_the_holder_named(tmp_path, holder):
    file = tmp_path / "lock"
    count = draws(1, 20)
    for _ in range(count):
        process = holder()
        with pytest.raises(LockedError, match=rf"in use by process {process.pid} on .* since"):
            lock.hold(file).__enter__()
        said = file.read_bytes()
        file.write_bytes(b"[" * 200_000)
        with pytest.raises(LockedError, match="in use by another process"):
            lock.hold(file).__enter__()
        file.write_bytes(said)
        process.kill()  # leaves the file
        process.wait()
        assert json.loads(file.read_text())["pid"] == process.pid
        with lock.hold(file):
            assert json.loads(file.read_text())["pid"] == os.getpid()
            with pytest.raises(LockedError, match="Wait for it or end it"), lock.hold(file):
                pass
        assert not file.exists()
    print(f"{count}/{count} locks of a killed process taken over")


def test_a_holder_that_has_not_said_who_it_is(tmp_path):
    file = tmp_path / "lock"
    with lock.hold(file):
        file.write_text("{")
        with pytest.raises(LockedError, match="in use by another process"), lock.hold(file):
            pass


def test_a_lock_file_deleted_in_between_is_no_lock(tmp_path, monkeypatch):
    """Its last holder may delete it between our opening it and locking it."""
    file = tmp_path / "lock"
    real, opened = disk.open_file, []

    def opening(*arguments):
        opened.append(real(*arguments))
        if len(opened) == 1:
            file.unlink()
        return opened[-1]

    monkeypatch.setattr(disk, "open_file", opening)
    with lock.hold(file):
        assert len(opened) == 2
        with pytest.raises(LockedError), lock.hold(file):
            pass


def test_where_there_are_no_locks_it_says_so(tmp_path, monkeypatch):
    said = []

    def refuse(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.hold(tmp_path / "lock", said.append):
        assert "has no locks; start no second process" in said[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*lock: No such file"):
        lock.hold(tmp_path / "no" / "lock").__enter__()
