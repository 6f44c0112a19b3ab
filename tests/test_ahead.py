"""Prefetching to the device, and telling whether input is too slow."""

from __future__ import annotations

import threading
import time

import jax
import numpy as np
import pytest

from jaxcnn.data import ahead
from jaxcnn.data.ahead import Throughput, prefetch
from jaxcnn.errors import ConfigError, DataError
from jaxcnn.typing import Batch


class TestPrefetch:
    def test_order_is_kept(self):
        assert list(prefetch(range(20), lambda x: x * x, depth=3)) == [x * x for x in range(20)]

    def test_depth_batches_are_ahead_and_no_more(self):
        drawn = []
        enough = threading.Event()

        def source():
            for number in range(10):
                drawn.append(number)
                if number == 2:
                    enough.set()
                yield number

        batches = prefetch(source(), lambda x: x, depth=2)
        assert next(batches) == 0
        assert enough.wait(10)  # 1 and 2 are drawn while 0 is in use
        time.sleep(0.05)
        assert drawn == [0, 1, 2]
        batches.close()
        assert drawn == [0, 1, 2]

    def test_an_error_comes_after_the_batches_before_it(self):
        def source():
            yield from (1, 2)
            raise DataError("the third is damaged")

        got = []
        with pytest.raises(DataError, match="the third is damaged"):
            got.extend(prefetch(source(), lambda x: x, depth=4))
        assert got == [1, 2]

    def test_an_error_of_put_comes_out_too(self):
        def put(x):
            if x == 2:
                raise ValueError("no room on the device")
            return x

        batches = prefetch(range(5), put)
        assert [next(batches), next(batches)] == [0, 1]
        with pytest.raises(ValueError, match="no room on the device"):
            next(batches)

    def test_closing_ends_thread_and_source(self):
        closed = []

        def source():
            try:
                while True:
                    yield 0
            finally:
                closed.append(threading.current_thread().name)

        batches = prefetch(source(), lambda x: x)
        next(batches)
        batches.close()
        assert closed == ["prefetch"]
        assert "prefetch" not in {thread.name for thread in threading.enumerate()}

    def test_depth_is_checked_at_once(self):
        with pytest.raises(ConfigError, match="depth=0 is not allowed"):
            prefetch([], lambda x: x, depth=0)

    def test_on_the_device(self, rng):
        host = [
            Batch(
                rng.integers(256, size=(4, 2, 2, 3)).astype(np.uint8), np.arange(4, dtype=np.int32)
            )
            for _ in range(5)
        ]
        device = list(prefetch(host, jax.device_put))
        assert all(isinstance(batch.images, jax.Array) for batch in device)
        for ours, theirs in zip(device, host, strict=True):
            np.testing.assert_array_equal(ours.images, theirs.images)
            np.testing.assert_array_equal(ours.labels, theirs.labels)


class TestThroughput:
    def measured(self, wait: float, use: float, batches: int = 4) -> Throughput:
        now = [0.0]

        def source():
            for _ in range(batches):
                now[0] += wait
                yield Batch(np.zeros((5, 1, 1, 3), np.uint8), np.zeros(5, np.int32))

        throughput = Throughput(clock=lambda: now[0])
        for _ in throughput.measure(source()):
            now[0] += use
        return throughput

    def test_waiting_and_using_are_told_apart(self):
        slow = self.measured(wait=1.0, use=3.0)
        assert (slow.images, slow.waited, slow.used, slow.share_waited) == (20, 4.0, 12.0, 0.25)
        assert slow.input_bound
        assert slow.summary() == (
            "20 images in 16.0 s (1 images/s), 25 % of it waiting for input, input-bound"
        )

    def test_a_fifth_is_not_too_much(self):
        fast = self.measured(wait=1.0, use=4.0)
        assert fast.share_waited == ahead._INPUT_BOUND
        assert not fast.input_bound
        assert fast.summary() == "20 images in 20.0 s (1 images/s), 20 % of it waiting for input"

    def test_counts_add_up_over_epochs_and_over_breaks(self):
        throughput = Throughput(clock=iter(range(100)).__next__)
        batch = Batch(np.zeros((2, 1, 1, 3), np.uint8), np.zeros(2, np.int32))
        for _ in range(2):
            for _ in throughput.measure([batch] * 3):
                break
        assert (throughput.images, throughput.waited, throughput.used) == (4, 2, 2)

    def test_before_the_first_batch(self):
        assert (
            Throughput().summary() == "0 images in 0.0 s (0 images/s), 0 % of it waiting for input"
        )
