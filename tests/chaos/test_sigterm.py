"""SIGTERM at any moment of the training: saved, a documented status, within ten seconds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from jaxcnn import checkpoint
from tests.chaos.draws import FULL, draws, generator
from tests.chaos.processes import ROOT, leftovers, only_run, start

TINY = "tests.chaos.tiny"
LONG = ("--epochs", "100000", "--log-every", "20")


def begun(*flags):
    """A process whose training has begun."""
    process = start(TINY, *flags)
    screen = ""
    for line in process.stdout:
        screen += line
        if line.startswith("first step"):
            return process
    raise AssertionError(f"did not begin: status {process.wait()}: {screen}")


def test_one_signal_saves(tmp_path):
    rng = generator()
    count = draws(1, 30)
    longest = 0.0
    for case in range(count):
        out = tmp_path / str(case)
        process = begun(*LONG, "--out", out)
        time.sleep(rng.uniform(0, 2))
        sent = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        screen, _ = process.communicate(timeout=60)
        longest = max(longest, time.perf_counter() - sent)
        assert process.returncode == 128 + signal.SIGTERM, screen
        run = only_run(out, "tiny")
        told = int(re.search(r"stopped at step (\d+); saved", screen)[1])
        about = checkpoint.read_manifest(run.latest_checkpoint())["about"]
        assert about["step"] == told == run.history()[-1]["step"]
        assert about["log_lines"] == len(run.history())
        assert (leftovers(run), run.lock.exists()) == ([], False)
    print(f"{count}/{count} saved at SIGTERM; the longest took {longest:.1f} s to leave")


STUCK = """
import jax
from jaxcnn.train import stop_on_signals
slow = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: (x * 7 + i) % 11, 0))
slow(3)
with stop_on_signals(lambda: print("left", flush=True)):
    print("begun", flush=True)
    slow(2**31 - 1).block_until_ready()
    slow(2**31 - 1).block_until_ready()
    print("came to its end")
"""
"""A compiled program that runs for a minute or so, in which Python sees no signal."""


def test_a_second_signal_ends_a_process_inside_a_compiled_program():
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)  # two that come at once are one
    screen, _ = process.communicate(timeout=60)
    assert (process.returncode, screen) == (128 + signal.SIGTERM, "left\n")


@pytest.mark.skipif(not FULL, reason="only with the whole counts")
def test_two_signals_damage_nothing(tmp_path):
    """Whether the process had time to save or not: the same command goes on."""
    rng = generator()
    count = draws(0, 10)
    for case in range(count):
        command = (*LONG, "--save-minutes", "0.0001", "--out", tmp_path / str(case))
        command = (*command, "--resume", "auto")
        process = begun(*command)
        time.sleep(rng.uniform(0, 2))
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(rng.uniform(0, 0.05))
        screen, _ = process.communicate(timeout=60)
        left_by = {128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGTERM, -signal.SIGINT}
        assert process.returncode in left_by, screen
        process = begun(*command)
        process.send_signal(signal.SIGTERM)
        screen, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, screen
        assert "passed over" not in screen
        assert leftovers(only_run(tmp_path / str(case), "tiny")) == []
    print(f"{count}/{count} left at the second signal and went on later")
