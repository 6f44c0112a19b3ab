"""Prepared sets read example by example, and streamed."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from jaxcnn.data import CorruptImageError, PreparedPictures, Stream
from jaxcnn.data.prepared import describe
from jaxcnn.data.tfds import read_prepared
from jaxcnn.errors import DataError
from tests.prepared import CLASSES, write_prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def pictures(folder) -> PreparedPictures:
    return PreparedPictures.open(folder, "train")


def test_examples_of_all_files_in_order(pictures):
    assert len(pictures) == 12
    assert pictures.classes == CLASSES
    assert pictures.name == "zoo/train"
    examples = [pictures.example(index) for index in range(12)]
    assert [label for _, label in examples] == [index % 3 for index in range(12)]
    assert all(pixels.dtype == np.uint8 and pixels.shape[2] == 3 for pixels, _ in examples)
    assert len({pixels.shape for pixels, _ in examples}) > 6
    assert pictures.place(7) == "zoo-train.array_record-00001-of-00002[0]"


def test_it_travels_to_worker_processes(pictures):
    copy = pickle.loads(pickle.dumps(pictures))
    np.testing.assert_array_equal(copy.example(8)[0], pictures.example(8)[0])


def test_a_stream_of_it(pictures):
    with Stream(pictures, size=16, batch_size=5, seed=0, train=True, workers=0) as stream:
        batches = list(stream.batches(0))
    assert [int(np.sum(batch.mask)) for batch in batches] == [5, 5, 2]
    labels = np.concatenate([batch.labels[batch.mask] for batch in batches])
    assert sorted(labels.tolist()) == sorted(index % 3 for index in range(12))


def test_the_same_examples_as_in_memory(data_dir):
    """CIFAR-10's test images: 32x32, so that the whole picture is compared."""
    folder = data_dir / "cifar10" / "3.0.2"
    if not folder.is_dir():
        pytest.skip("needs CIFAR-10")
    held = read_prepared(describe(folder), "cifar10").test
    pictures = PreparedPictures.open(folder, "test")
    assert len(pictures) == len(held)
    for index in (0, 1, 4_321, 9_999):
        pixels, label = pictures.example(index)
        np.testing.assert_array_equal(pixels, held.images[index])
        assert label == held.labels[index]


def test_a_split_that_it_has_not(folder):
    with pytest.raises(DataError, match="labelled images with a split test: KeyError: 'test'"):
        PreparedPictures.open(folder, "test")


def test_a_file_that_is_cut_off(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "zoo-train.array_record-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"00001-of-00002.*(declares 5|cannot be read)"):
        PreparedPictures.open(copy, "train")


def test_a_label_outside_the_classes(tmp_path):
    pictures = PreparedPictures.open(write_prepared(tmp_path, labels=(0, -1)), "train")
    pictures.example(0)
    with pytest.raises(DataError, match=r"00002\[1\]: label -1 is outside 0 \.\. 2"):
        pictures.example(1)


def test_a_record_that_holds_no_picture(folder, tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "zoo-train.array_record-00000-of-00002"
    path.unlink()
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for _ in range(7):
        writer.write(b"no example at all")
    writer.close()
    pictures = PreparedPictures.open(copy, "train")
    with pytest.raises(CorruptImageError, match=r"00000-of-00002\[3\]: no usable record"):
        pictures.example(3)
