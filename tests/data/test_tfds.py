"""Sets as tensorflow-datasets prepares them."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data.known import KNOWN, content_digest
from jaxcnn.errors import DataError


class TestPrepared:
    """Real prepared data, if `$DATA_DIR` names it, and damage to copies of it."""

    def test_mnist_is_mnist_to_the_bit(self, data_dir):
        splits = data.load("mnist", data_dir=data_dir)
        digest = hashlib.sha256(splits.test.images.tobytes()).hexdigest()
        assert digest == "a85d8dffc6063fb89dcbc2122651701e7bbc18837f940fc9d76df48c224558ca"
        labels = hashlib.sha256(splits.train.labels.astype(np.uint8).tobytes()).hexdigest()
        assert labels == "2736d7d4fa861b3eb5cf799ed3247c49ba46c5b056b3b4aceabec80fbf37b0f7"

    def test_idx_and_tfds_hold_the_same_examples(self, data_dir):
        idx = data_dir.parent / "mnist-idx"
        if not idx.is_dir():
            pytest.skip("no mnist-idx beside $DATA_DIR")
        one = data.load("mnist", data_dir=idx)
        assert content_digest(one.test) == KNOWN["mnist"].content[1]

    @pytest.fixture
    def copied(self, data_dir, tmp_path):
        source = data_dir / "mnist" / "3.0.1"
        folder = tmp_path / "copy" / "mnist" / "3.0.1"
        shutil.copytree(source, folder)
        for file in folder.iterdir():
            file.chmod(0o644)
        folder.chmod(0o755)
        return folder

    @pytest.mark.parametrize("split", ["train", "test"])
    @pytest.mark.parametrize(
        "damage",
        [
            lambda b: b[: len(b) // 2],
            lambda b: b"",
            lambda b: b[:200_000] + bytes([b[200_000] ^ 4]) + b[200_001:],
            lambda b: bytes(len(b)),
        ],
        ids=["half", "empty", "flip", "zeros"],
    )
    def test_damaged_records_are_named(self, copied, split, damage):
        (file,) = copied.glob(f"mnist-{split}*")
        file.write_bytes(damage(file.read_bytes()))
        with pytest.raises(DataError, match="damaged") as caught:
            data.load("mnist", data_dir=copied.parent.parent)
        assert str(copied) in str(caught.value)

    @pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 3}'])
    def test_damaged_descriptions_are_named(self, copied, name, content):
        (copied / name).write_bytes(content)
        with pytest.raises(DataError, match=r"3\.0\.1"):
            data.load("mnist", data_dir=copied.parent.parent)

    def test_a_tfrecord_set_says_what_to_do(self, copied):
        info = copied / "dataset_info.json"
        info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": "tfrecord"}))
        with pytest.raises(DataError, match="prepared as tfrecord"):
            data.load("mnist", data_dir=copied.parent.parent)
