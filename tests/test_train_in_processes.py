"""Training in two real processes with two devices each is training on one device."""

from __future__ import annotations

import json

import chex
import jax
import numpy as np
import pytest

from tests.processes import finish, meeting, member, start
from tests.train_in_processes import fit, named

WAYS = ("jit", "shard_map", "pmap")
pytestmark = pytest.mark.xdist_group("processes")  # one pair of processes for all


@pytest.fixture(scope="module")
def alone():
    return fit("jit", devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    out = tmp_path_factory.mktemp("together")
    address = meeting()
    workers = [
        start(["-m", "tests.train_in_processes", str(out), *WAYS], member(address, process))
        for process in (0, 1)
    ]
    for status, _, err in finish(workers):
        assert status == 0, err
    return out


@pytest.mark.parametrize("way", WAYS)
def test_the_result_is_that_of_one_device(alone, together, way):
    wanted = {name: np.asarray(leaf) for name, leaf in named(alone.train_state).items()}
    for process in (0, 1):
        with np.load(together / f"{way}-{process}.npz") as got:
            # Sums over the batch are added up in another order, and 20 steps carry that on.
            chex.assert_trees_all_close(dict(got), wanted, rtol=2e-4, atol=2e-5)
        history = json.loads((together / f"{way}-{process}.json").read_text())
        assert len(history) == len(alone.history)
        for one, other in zip(history, alone.history, strict=True):
            assert one["count"] == other["count"]
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_both_processes_hold_the_same_bits(together, way):
    with np.load(together / f"{way}-0.npz") as first, np.load(together / f"{way}-1.npz") as second:
        chex.assert_trees_all_equal(dict(first), dict(second))
