"""IDX files: as they were written, damaged, and bombs."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data.idx import read_idx_array
from jaxcnn.errors import DataError
from tests.data.idx_files import DIGITS, idx_bytes, write_idx


class TestIdx:
    @pytest.mark.parametrize("compress", [True, False])
    def test_reads_what_was_written(self, tmp_path, tiny, compress):
        folder = write_idx(tmp_path / "idx", tiny, compress=compress)
        read = data.read_idx_folder(folder, DIGITS, "tiny")
        for split in ("train", "test"):
            np.testing.assert_array_equal(getattr(read, split).images, getattr(tiny, split).images)
            np.testing.assert_array_equal(getattr(read, split).labels, getattr(tiny, split).labels)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda b: b"", "not an IDX file"),
            (lambda b: b[:7], "not an IDX file"),
            (lambda b: b"\x00\x00\x0d" + b[3:], "magic number 0x00000803, got 0x00000d03"),
            (lambda b: b[:3] + b"\x01" + b[4:], "not an IDX file of images"),
            (lambda b: b[:-1], "damaged"),
            (lambda b: b + b"x", "damaged"),
            (lambda b: b[:4] + b"\xff" * 12 + b[16:], "damaged or too large"),
            (lambda b: b[:4] + b"\x00" * 12 + b[16:], "damaged or too large"),
            (lambda b: b[:4] + struct.pack(">3I", 31, 5, 4) + b[16:], "declares 6(20|36)"),
        ],
    )
    @pytest.mark.parametrize("compress", [True, False])
    def test_damage_is_named(self, tmp_path, tiny, damage, message, compress):
        content = damage(idx_bytes(tiny.train.images[..., 0]))
        path = tmp_path / "images"
        path.write_bytes(gzip.compress(content) if compress else content)
        with pytest.raises(DataError, match=message) as caught:
            read_idx_array(path, 3)
        assert str(path) in str(caught.value)

    def test_every_truncation_and_many_flips_of_a_gz_are_errors_or_harmless(self, tmp_path, tiny):
        good = gzip.compress(idx_bytes(tiny.test.images[..., 0]), mtime=0)
        path = tmp_path / "images.gz"
        rng = np.random.default_rng(0)
        damaged = [good[:n] for n in range(0, len(good), 7)]
        for bit in rng.choice(8 * len(good), size=200, replace=False):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << (bit % 8)
            damaged.append(bytes(flipped))
        silent = 0
        for content in damaged:
            path.write_bytes(content)
            try:
                array = read_idx_array(path, 3)
            except DataError:
                continue
            silent += not np.array_equal(array, tiny.test.images[..., 0])
        assert silent == 0

    def test_a_small_file_cannot_claim_much_memory(self, tmp_path):
        path = tmp_path / "bomb.gz"
        path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 60_000, 4_096, 4_096)))
        with pytest.raises(DataError, match="too large"):
            read_idx_array(path, 3)

    def test_what_grows_a_thousandfold_is_not_decompressed(self, tmp_path):
        path = tmp_path / "bomb.gz"
        head = struct.pack(">HBB3I", 0, 8, 3, 1_024, 1_024, 64)
        path.write_bytes(gzip.compress(head + bytes(1_024 * 1_024 * 64)))
        with pytest.raises(DataError, match=r"bytes that declare to hold 67108864, expected at"):
            read_idx_array(path, 3)

    def test_many_equal_labels_may_grow_a_thousandfold(self, tmp_path):
        path = tmp_path / "labels.gz"
        path.write_bytes(gzip.compress(idx_bytes(np.repeat(np.arange(10), 100_000))))
        assert path.stat().st_size < 3_000
        assert read_idx_array(path, 1).shape == (1_000_000,)

    def test_missing_files_are_listed(self, tmp_path, tiny):
        folder = write_idx(tmp_path / "idx", tiny)
        (folder / "t10k-labels-idx1-ubyte.gz").unlink()
        with pytest.raises(DataError, match="missing t10k-labels-idx1-ubyte"):
            data.read_idx_folder(folder, DIGITS, "tiny")
        with pytest.raises(DataError, match="no IDX data set here"):
            data.read_idx_folder(tmp_path, DIGITS, "tiny")
        with pytest.raises(DataError, match="cannot be read"):
            read_idx_array(tmp_path / "nothing", 3)

    def test_counts_and_labels_are_checked(self, tmp_path, tiny):
        images, labels = tmp_path / "i", tmp_path / "l"
        images.write_bytes(idx_bytes(tiny.train.images[..., 0]))
        labels.write_bytes(idx_bytes(tiny.train.labels[:-1]))
        with pytest.raises(DataError, match="30 images and 29 labels"):
            data.read_idx_pair(images, labels, DIGITS, "tiny")
        labels.write_bytes(idx_bytes(np.full(30, 10)))
        with pytest.raises(DataError, match=r"label 10 of example 0 is outside 0 .. 9"):
            data.read_idx_pair(images, labels, DIGITS, "tiny")
