"""Batches of pictures from a folder: crops, order, workers, processes, corrupt pictures."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import pictures as pictures_module
from jaxcnn.data.ahead import prefetch
from jaxcnn.data.folder import CorruptImageError, ImageFolder
from jaxcnn.data.pictures import centre_box, example_order, random_box
from jaxcnn.data.stream import Stream
from jaxcnn.errors import ConfigError, DataError
from jaxcnn.typing import Batch
from tests.pictures import png_head, write_pictures

ROOT = Path(__file__).parent.parent
SIZE = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "zoo")


@pytest.fixture(scope="module")
def pictures(root) -> ImageFolder:
    return ImageFolder.open(root)


@pytest.fixture
def spoiled(root, tmp_path) -> Path:
    """The pictures, three of them replaced by what cannot be read."""
    copy = shutil.copytree(root, tmp_path / "spoiled")
    whole = (copy / "ant" / "000.JPEG").read_bytes()
    (copy / "ant" / "000.JPEG").write_bytes(whole[: len(whole) // 2])
    (copy / "bee" / "001.JPEG").write_text("text, whatever its name says")
    (copy / "cat" / "005.png").write_bytes(png_head(60_000, 60_000))
    return copy


BAD = ["ant/000.JPEG", "bee/001.JPEG", "cat/005.png"]


def open_stream(pictures: ImageFolder, **changes) -> Stream:
    settings = {"size": SIZE, "batch_size": 8, "seed": 5, "train": True, "workers": 0}
    return Stream(pictures, **{**settings, **changes})


def same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


class TestCrops:
    def test_evaluation_crop_equals_pillow(self, root, pictures):
        batches = list(open_stream(pictures, train=False).batches(0))
        for index, path in enumerate(pictures.paths):
            reference = Image.fromarray(pictures.read(index))
            side = round(min(reference.size) * 224 / 256)
            left, top = ((length - side) // 2 for length in reference.size)
            reference = reference.crop((left, top, left + side, top + side))
            reference = reference.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            batch = batches[index // 8]
            np.testing.assert_array_equal(
                batch.images[index % 8], np.asarray(reference), err_msg=path
            )
            assert batch.labels[index % 8] == pictures.labels[index]

    def test_random_boxes_keep_the_bounds_and_spread_over_them(self):
        rng = np.random.default_rng(0)
        boxes = np.array([random_box(300, 400, rng) for _ in range(3_000)])
        left, top, right, bottom = boxes.T
        assert left.min() >= 0
        assert top.min() >= 0
        assert right.max() <= 400
        assert bottom.max() <= 300
        width, height = right - left, bottom - top
        area, ratio = width * height / 120_000, width / height
        assert 0.078 < area.min() < 0.1
        assert 0.95 < area.max() <= 1
        assert 0.74 < ratio.min() < 0.78
        assert 1.29 < ratio.max() < 1.35
        # Uniform draws of the area, but for large ones that do not fit: the lower half is whole.
        low = area[area < 0.5]
        assert abs(low.mean() - 0.29) < 0.02

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 500), (500, 2), (1, 7)])
    def test_boxes_of_extreme_pictures(self, height, width):
        for box in (random_box(height, width, np.random.default_rng(0)), centre_box(height, width)):
            left, top, right, bottom = box
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height

    def test_a_long_picture_gives_its_middle(self):
        assert random_box(30, 1_000, np.random.default_rng(0)) == (480, 0, 520, 30)

    def test_training_crops_change_with_the_epoch_and_half_are_mirrored(self, tmp_path):
        ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 60, axis=0)
        place = tmp_path / "set" / "class"
        place.mkdir(parents=True)
        for number in range(60):
            Image.fromarray(np.repeat(ramp, 3, axis=2)).save(place / f"{number}.png")
        training = open_stream(ImageFolder.open(place.parent), batch_size=60)
        first, second = (next(training.batches(epoch)).images for epoch in (0, 1))
        assert len({image.tobytes() for image in (*first, *second)}) > 100
        mirrored = (first[:, 8, 0, 0] > first[:, 8, -1, 0]).sum()
        assert 15 < mirrored < 45


class TestStream:
    def test_every_example_comes_once_an_epoch(self, pictures):
        orders = [example_order(5, epoch, 40) for epoch in range(3)]
        assert all(sorted(order) == list(range(40)) for order in orders)
        assert len({order.tobytes() for order in orders}) == 3
        training = open_stream(pictures, batch_size=16)
        batches = list(training.batches(1))
        assert training.steps == len(batches) == 3
        assert [batch.mask.sum() for batch in batches] == [16, 16, 8]
        assert all(batch.images.shape == (16, SIZE, SIZE, 3) for batch in batches)
        assert not batches[-1].images[8:].any()
        labels = np.concatenate([batch.labels[batch.mask] for batch in batches])
        np.testing.assert_array_equal(labels, pictures.labels[orders[1]])
        for batch in batches:
            assert (batch.images.dtype, batch.labels.dtype) == (np.uint8, np.int32)

    def test_batch_size_does_not_change_an_example(self, pictures):
        small, large = (
            np.concatenate([b.images for b in open_stream(pictures, batch_size=n).batches(2)])
            for n in (8, 20)
        )
        np.testing.assert_array_equal(small, large)

    def test_two_processes_share_the_batches(self, pictures):
        whole = list(open_stream(pictures, batch_size=12).batches(0))
        parts = [
            list(open_stream(pictures, batch_size=12, process=n, processes=2).batches(0))
            for n in (0, 1)
        ]
        together = [
            Batch(*(np.concatenate(arrays) for arrays in zip(a, b, strict=True)))
            for a, b in zip(*parts, strict=True)
        ]
        same(together, whole)
        assert [part[-1].mask.sum() for part in parts] == [4, 0]

    def test_resuming_gives_the_tail(self, pictures):
        whole = list(open_stream(pictures).batches(3))
        for start in range(6):
            same(list(open_stream(pictures).batches(3, start)), whole[start:])

    def test_workers_change_nothing_and_end(self, pictures, spoiled):
        bad = ImageFolder.open(spoiled)
        alone = open_stream(bad, on_corrupt="skip")
        expected = [list(alone.batches(epoch)) for epoch in (0, 1)]
        for workers in (1, 2):
            with open_stream(bad, on_corrupt="skip", workers=workers) as shared:
                for epoch in (0, 1):  # the workers of epoch 0 go on
                    same(list(shared.batches(epoch)), expected[epoch])
                assert len(multiprocessing.active_children()) == workers
            assert shared.corrupt == alone.corrupt
            assert multiprocessing.active_children() == []

    def test_workers_end_when_the_body_raises(self, pictures):
        expected = list(open_stream(pictures, train=False).batches(0))

        def interrupted():
            with open_stream(pictures, train=False, workers=1) as shared:
                same([next(shared.batches(7, start=3))], expected[3:4])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert multiprocessing.active_children() == []

    def test_workers_and_thread_end_when_a_loop_with_prefetch_raises(self, pictures):
        def failing():
            with open_stream(pictures, workers=2) as shared:
                for _ in prefetch(shared.batches(0), lambda batch: batch):
                    raise ValueError("the step failed")

        with pytest.raises(ValueError, match="the step failed") as caught:
            failing()
        # The thread may still be in the loop's frame, which the traceback keeps; never a worker.
        assert multiprocessing.active_children() == []
        del caught
        gc.collect()
        assert "prefetch" not in {thread.name for thread in threading.enumerate()}

    def test_a_closed_stream_gives_no_batches(self, pictures):
        with open_stream(pictures) as closed:
            batches = closed.batches(0)
            next(batches)
        with pytest.raises(ConfigError, match="this stream is closed"):
            next(batches)

    def test_a_worker_that_dies_is_an_error(self, pictures):
        with open_stream(pictures, workers=1) as shared:
            batches = shared.batches(0)
            next(batches)
            (worker,) = multiprocessing.active_children()
            # Until it waits: killed at work, it could keep a lock of Grain's for ever.
            time.sleep(1)
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(DataError, match="a worker that reads pictures died"):
                list(batches)  # more than the worker has made ahead
            assert multiprocessing.active_children() == []

    def test_corrupt_pictures_fail_by_name(self, spoiled):
        failing = open_stream(ImageFolder.open(spoiled), train=False)
        with pytest.raises(CorruptImageError, match=r"ant/000\.JPEG: not a whole JPEG or PNG"):
            next(failing.batches(0))
        assert failing.corrupt == ["ant/000.JPEG"]

    def test_corrupt_pictures_are_skipped_and_named(self, pictures, spoiled):
        bad = ImageFolder.open(spoiled)
        assert bad.paths == pictures.paths
        skipping = open_stream(bad, train=False, on_corrupt="skip", most_corrupt=3)
        rows = [np.concatenate(arrays) for arrays in zip(*skipping.batches(0), strict=True)]
        assert skipping.corrupt == BAD
        where = [bad.paths.index(path) for path in BAD]
        assert list(np.flatnonzero(~rows[2])) == where
        assert not rows[0][where].any()
        good = open_stream(pictures, train=False).batches(0)
        expected = np.concatenate([batch.images for batch in good])
        np.testing.assert_array_equal(rows[0][rows[2]], expected[rows[2]])
        list(skipping.batches(1))
        assert skipping.corrupt == BAD  # each is counted once

    def test_too_many_corrupt_pictures(self, spoiled):
        skipping = open_stream(
            ImageFolder.open(spoiled), train=False, on_corrupt="skip", most_corrupt=2
        )
        message = r"3 pictures cannot be read, at most 2 are allowed: ant/000\.JPEG, bee/001\.JPEG"
        with pytest.raises(DataError, match=message):
            list(skipping.batches(0))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"size": 0}, "size=0 is not allowed: expected an int of at least 1"),
            ({"batch_size": 0}, "batch_size=0 is not allowed"),
            ({"seed": -1}, "seed=-1"),
            ({"workers": -1}, "workers=-1"),
            ({"most_corrupt": -1}, "most_corrupt=-1"),
            ({"processes": 0}, "processes=0"),
            ({"on_corrupt": "ignore"}, "'ignore' is unknown: use 'fail' or 'skip'"),
            ({"process": 2, "processes": 2}, "process=2 is not allowed: expected 0 .. 1"),
            ({"batch_size": 9, "processes": 2}, "batch_size=9 is not allowed: 2 processes"),
        ],
    )
    def test_settings_out_of_range(self, pictures, changes, message):
        with pytest.raises(ConfigError, match=message):
            open_stream(pictures, **changes)

    def test_places_out_of_range(self, pictures):
        with pytest.raises(ConfigError, match="epoch=-1"):
            open_stream(pictures).batches(-1)
        with pytest.raises(ConfigError, match=r"start=6 is not allowed: expected 0 \.\. 5"):
            open_stream(pictures).batches(0, 6)


def test_parts_of_a_seed_are_kept_apart():
    """A crop's generator must not repeat the one that draws the order."""
    order = np.random.default_rng((pictures_module._ORDER, 5, 0)).random(4)
    view = np.random.default_rng((pictures_module._VIEW, 5, 0, 0)).random(4)
    assert not np.intersect1d(order, view).size


SCRIPT = """
import signal, sys, time, multiprocessing
from jaxcnn.data.folder import ImageFolder
from jaxcnn.data.stream import Stream

if __name__ == "__main__":
    # Ignored where a shell started the tests in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pictures = ImageFolder.open(sys.argv[1])
    with Stream(pictures, size=16, batch_size=8, seed=0, train=True, workers=2) as stream:
        for epoch in range(10**6):
            for batch in stream.batches(epoch):
                if epoch == 1:
                    pids = [child.pid for child in multiprocessing.active_children()]
                    print(*pids, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_a_stopped_run(root, tmp_path, kind):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
    ) as run:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        assert len(workers) == 2
        if kind == signal.SIGINT:
            os.killpg(run.pid, kind)  # what Ctrl-C in a terminal does
        else:
            os.kill(run.pid, kind)
        try:
            _, errors = run.communicate(timeout=60)
        finally:
            run.kill()  # or leaving the block waits for it for good
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.1)
    if kind == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors  # the parent's, no worker's
