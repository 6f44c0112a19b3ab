"""Experiments: one file each, run by `python -m experiments.NAME` or `make train-NAME`."""

import time

STARTED = time.perf_counter()  # to report the time from the process's start to its first step
