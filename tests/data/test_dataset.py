"""The type that readers return: what it refuses, and its parts."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data import Dataset, Splits
from jaxcnn.errors import ConfigError, DataError
from tests.data.idx_files import DIGITS


class TestDataset:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": np.zeros((3, 4, 4), np.uint8)}, r"uint8\[3, 4, 4\], expected uint8"),
            ({"images": np.zeros((3, 4, 4, 1), np.float32)}, "expected uint8"),
            ({"images": np.zeros((3, 0, 4, 1), np.uint8)}, "expected uint8"),
            ({"labels": np.zeros(3, np.int64)}, "expected int32"),
            ({"labels": np.zeros(2, np.int32)}, "3 images and 2 labels"),
            ({"labels": np.array([0, 1, 2], np.int32)}, "label 2 of example 2 is outside 0 .. 1"),
            ({"labels": np.array([0, -1, 0], np.int32)}, "label -1 of example 1 is outside"),
            (
                {"images": np.zeros((0, 4, 4, 1), np.uint8), "labels": np.zeros(0, np.int32)},
                "at least 1",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        good = {
            "name": "x",
            "images": np.zeros((3, 4, 4, 1), np.uint8),
            "labels": np.zeros(3, np.int32),
            "classes": ("a", "b"),
            "source": "tests",
        }
        Dataset(**good)
        with pytest.raises(DataError, match=message):
            Dataset(**{**good, **change})

    @pytest.mark.parametrize("label", [-1, 10])
    @pytest.mark.parametrize(
        "way",
        [
            lambda one, bad: Dataset("x", one.images, bad, DIGITS, "tests"),
            lambda one, bad: dataclasses.replace(one, labels=bad),
            lambda one, bad: dataclasses.replace(one, classes=DIGITS[: one.labels.max()]),
            lambda one, bad: Splits(one, dataclasses.replace(one, labels=bad)),
            lambda one, bad: dataclasses.replace(one, labels=bad).take([0], "x"),
        ],
        ids=["made", "labels replaced", "classes replaced", "splits", "taken"],
    )
    def test_no_way_to_a_label_outside_the_classes(self, tiny, way, label):
        """On which JAX would train: on -1 as on the last class, on 10 with a loss of NaN."""
        bad = tiny.train.labels.copy()
        bad[7] = label
        with pytest.raises(DataError, match=r"label .* is outside 0 \.\. "):
            way(tiny.train, bad)

    def test_labels_stay_as_they_were_checked(self, tiny):
        mine = tiny.train.labels.copy()
        made = dataclasses.replace(tiny.train, labels=mine)
        mine[0] = 77
        for part in (made, made.take([0, 1], "taken"), *made.hold_out(5, seed=0)):
            assert part.labels.max() < 10
            with pytest.raises(ValueError, match="read-only"):
                part.labels[0] = -1

    def test_other_containers_are_named(self, tiny):
        with pytest.raises(DataError, match="labels are list, expected a NumPy array"):
            dataclasses.replace(tiny.train, labels=[1] * 30)
        with pytest.raises(DataError, match=r"images are Array\w*, expected a NumPy array"):
            dataclasses.replace(tiny.train, images=jnp.asarray(tiny.train.images))

    def test_fingerprint_tells_any_change(self, tiny):
        base = tiny.train
        assert base.fingerprint == dataclasses.replace(base, name="other").fingerprint
        pixel = base.images.copy()
        pixel[3, 2, 1, 0] ^= 1
        prints = {
            base.fingerprint,
            dataclasses.replace(base, images=pixel).fingerprint,
            dataclasses.replace(base, labels=(base.labels + 1) % 10).fingerprint,
            base.take(np.arange(30)[::-1], "reversed").fingerprint,
        }
        assert len(prints) == 4

    def test_hold_out_parts_the_set(self, tiny):
        rest, held = tiny.train.hold_out(8, seed=3)
        assert (len(rest), len(held)) == (22, 8)
        both = sorted(image.tobytes() for part in (rest, held) for image in part.images)
        assert both == sorted(image.tobytes() for image in tiny.train.images)
        assert held.fingerprint == tiny.train.hold_out(8, seed=3)[1].fingerprint
        assert held.fingerprint != tiny.train.hold_out(8, seed=4)[1].fingerprint
        with pytest.raises(ConfigError, match="cannot hold out 30"):
            tiny.train.hold_out(30, seed=0)
