"""`data.load`: places, the cache, and what is not what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import Splits, cache
from jaxcnn.errors import ConfigError, DataError, DataUnavailableError
from tests.data.idx_files import DIGITS, write_idx


class TestDigits:
    def test_the_split_is_fixed(self):
        digits = data.load("digits")
        assert (len(digits.train), len(digits.test)) == (1_437, 360)
        assert digits.train.image_shape == (28, 28, 1)
        assert digits.train.fingerprint.startswith("c1f9a5470af7a75f")
        assert digits.test.fingerprint.startswith("8de6829b522b293b")

    def test_both_parts_hold_all_classes(self):
        digits = data.load("digits")
        for part in (digits.train, digits.test):
            assert np.bincount(part.labels).min() > 25


class TestLoad:
    def test_unknown_names_are_listed(self):
        with pytest.raises(ConfigError, match="'minst' is unknown: use one of auto, mnist"):
            data.load("minst")

    def test_idx_folder_then_cache(self, tmp_path, tiny, known):
        folder = write_idx(tmp_path / "idx", tiny)
        said: list[str] = []
        first = data.load("mnist", data_dir=folder, say=said.append)
        again = data.load("mnist", data_dir=folder, say=said.append)
        without = data.load("mnist", say=said.append)
        assert said[0] == f"mnist: decoding {folder}"
        assert said[1].startswith(f"mnist: decoded cache {tmp_path / 'cache'}")
        assert said[2].startswith("mnist: decoded cache")
        prints = {splits.train.fingerprint for splits in (first, again, without)}
        assert prints == {dataclasses.replace(tiny.train, classes=DIGITS).fingerprint}

    def test_a_changed_file_is_not_taken_from_the_cache(self, tmp_path, tiny, known):
        folder = write_idx(tmp_path / "idx", tiny)
        data.load("mnist", data_dir=folder)
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"short")
        with pytest.raises(DataError, match="not an IDX file of labels"):
            data.load("mnist", data_dir=folder)

    def test_a_flipped_pixel_is_not_mnist(self, tmp_path, tiny, known):
        images = tiny.train.images.copy()
        images[7, 1, 1, 0] ^= 64
        train = dataclasses.replace(tiny.train, images=images)
        folder = write_idx(tmp_path / "idx", Splits(train, tiny.test), compress=False)
        with pytest.raises(DataError, match="are not those of mnist"):
            data.load("mnist", data_dir=folder)
        assert not list((tmp_path / "cache").glob("datasets/*"))

    def test_another_set_is_not_mnist(self, tmp_path, tiny, known):
        folder = write_idx(tmp_path / "idx", Splits(tiny.test, tiny.train))
        with pytest.raises(DataError, match=r"12 images of .* expected 30"):
            data.load("mnist", data_dir=folder)

    def test_any_idx_set_may_be_read_as_idx(self, tmp_path, tiny):
        folder = write_idx(tmp_path / "my_set", tiny)
        splits = data.load("idx", data_dir=folder)
        assert splits.train.name == "idx:my_set/train"
        assert splits.train.classes == DIGITS
        with pytest.raises(ConfigError, match="needs the folder"):
            data.load("idx")

    def test_a_damaged_cache_entry_is_named_and_made_anew(self, tmp_path, tiny, known):
        folder = write_idx(tmp_path / "idx", tiny)
        data.load("mnist", data_dir=folder)
        (entry,) = cache.entries("mnist")
        array = entry / "train_images.npy"
        content = bytearray(array.read_bytes())
        content[-1] ^= 1
        array.write_bytes(content)
        said: list[str] = []
        data.load("mnist", data_dir=folder, say=said.append)
        assert "damaged cache entry passed over" in said[0]
        assert "train_images.npy" in said[0]
        assert said[1] == f"mnist: decoding {folder}"
        said.clear()
        data.load("mnist", data_dir=folder, say=said.append)
        assert said[0].startswith("mnist: decoded cache")

    @pytest.mark.parametrize("name", ["manifest.json", "test_labels.npy"])
    @pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"null", b"\x93NUMPY"])
    def test_no_damage_to_the_cache_stops_a_run(self, tmp_path, tiny, known, name, content):
        folder = write_idx(tmp_path / "idx", tiny)
        data.load("mnist", data_dir=folder)
        (entry,) = cache.entries("mnist")
        if content is None:
            (entry / name).unlink()
        else:
            (entry / name).write_bytes(content)
        assert len(data.load("mnist", data_dir=folder).train) == 30

    def test_a_cache_that_cannot_be_written_is_said(self, tmp_path, tiny, known, monkeypatch):
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "file"))
        said: list[str] = []
        data.load("mnist", data_dir=write_idx(tmp_path / "idx", tiny), say=said.append)
        assert said[-1].startswith("mnist: not cached: cannot write")

    def test_a_folder_that_was_named_is_the_only_place(self, tmp_path, tiny, known):
        data.load("mnist", data_dir=write_idx(tmp_path / "idx", tiny))  # now it is in the cache
        (tmp_path / "empty").mkdir()
        for name in ("mnist", "auto"):
            with pytest.raises(DataError, match="holds no mnist"):
                data.load(name, data_dir=tmp_path / "empty")
            with pytest.raises(DataError, match="No such file or directory"):
                data.load(name, data_dir=tmp_path / "nowhere")
            with pytest.raises(DataError, match="Not a directory"):
                data.load(name, data_dir=tmp_path / "idx" / "train-labels-idx1-ubyte.gz")

    def test_auto_falls_back_aloud_and_mnist_does_not(self, tmp_path):
        said: list[str] = []
        splits = data.load("auto", say=said.append)
        assert splits.train.name == "digits/train"
        assert said[0] == f"mnist: not in the cache {tmp_path / 'cache' / 'datasets'}"
        assert said[1] == f"mnist: not in {tmp_path / 'home' / 'tensorflow_datasets'}"
        assert said[-1] == "digits: the embedded digits take its place"
        with pytest.raises(DataUnavailableError, match="in none of the places tried"):
            data.load("mnist")

    def test_the_environment_names_a_place(self, tmp_path, tiny, known, monkeypatch):
        folder = write_idx(tmp_path / "idx", tiny)
        monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
        assert len(data.load("mnist").train) == 30

    def test_places_that_one_may_not_enter(self, tmp_path, closed, tiny, known, monkeypatch):
        """Usual places are passed over, as if they were not there; a named one is an error."""
        folder = write_idx(tmp_path / "idx", tiny)
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(closed / "cache"))
        monkeypatch.setenv("TFDS_DATA_DIR", str(closed / "data"))
        said: list[str] = []
        assert data.load("auto", say=said.append).train.name == "digits/train"
        assert f"mnist: not in {closed / 'data'}" in said
        assert len(data.load("mnist", data_dir=folder, say=said.append).train) == 30
        with pytest.raises(DataError, match="Permission denied"):
            data.load("mnist", data_dir=closed)
