"""SIGTERM at any moment of the training: saved, a documented status, within ten seconds."""

from __future__ import annotations

import re
import signal
import time

from jaxcnn import checkpoint
from tests.chaos.draws import draws, generator
from tests.chaos.processes import leftovers, only_run, start

TINY = "tests.chaos.tiny"
LONG = ("--epochs", "100000", "--log-every", "20")


def begun(*flags):
    """A process whose training has begun."""
    process = start(TINY, *flags)
    for line in process.stdout:
        if line.startswith("first step"):
            return process
    raise AssertionError(f"did not begin: status {process.wait()}")


def test_one_signal_saves(tmp_path):
    rng = generator()
    count = draws(2, 30)
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


def test_a_second_signal_leaves_at_once_and_damages_nothing(tmp_path):
    rng = generator()
    count = draws(1, 10)
    for case in range(count):
        out = tmp_path / str(case)
        process = begun(*LONG, "--out", out, "--resume", "auto")
        time.sleep(rng.uniform(0.5, 2))
        for number in (signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(rng.uniform(0.01, 0.1))
        screen, _ = process.communicate(timeout=60)
        assert process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT), screen
        process = begun(*LONG, "--out", out, "--resume", "auto")  # nothing stands in its way
        process.send_signal(signal.SIGTERM)
        screen, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, screen
        assert leftovers(only_run(out, "tiny")) == []
    print(f"{count}/{count} left at the second signal and went on later")
