"""Digests of data files: pinned, remembered, and checked in full."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import Dataset, Splits, cache, digests
from jaxcnn.data.known import KNOWN, content_digest
from jaxcnn.errors import ConfigError, DataError, DataUnavailableError
from tests.data.idx_files import DIGITS, write_idx

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def tiny(rng) -> Splits:
    def part(count):
        images = rng.integers(256, size=(count, 5, 4, 1)).astype(np.uint8)
        labels = rng.integers(10, size=count).astype(np.int32)
        return Dataset("tiny", images, labels, DIGITS, "tests")

    return Splits(part(30), part(12))


@pytest.fixture
def folder(tmp_path, tiny) -> Path:
    """IDX files that have not changed for long."""
    folder = write_idx(tmp_path / "idx", tiny)
    for file in folder.iterdir():
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder


def stand_in(monkeypatch, name: str, tiny: Splits, **pins) -> None:
    """Makes a published name stand for the tiny set."""
    entry = dataclasses.replace(KNOWN[name], image_shape=(5, 4, 1), train=30, test=12, **pins)
    monkeypatch.setitem(KNOWN, name, entry)


@pytest.fixture
def mnist(monkeypatch, tiny):
    stand_in(
        monkeypatch,
        "mnist",
        tiny,
        content=(content_digest(tiny.train), content_digest(tiny.test)),
    )


def rot(file: Path) -> None:
    """Flips a bit in such a way that size, time and inode stay."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(-20, os.SEEK_END)
        byte = opened.read(1)[0]
        opened.seek(-20, os.SEEK_END)
        opened.write(bytes([byte ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


class TestRemembered:
    def test_a_file_is_hashed_once(self, folder, monkeypatch):
        file = folder / "train-labels-idx1-ubyte.gz"
        digest = digests.digest_of(file)
        assert digest == digests.file_digest(file) == digests.remembered_digest(file)
        monkeypatch.setattr(digests, "file_digest", None)  # which a second hashing would call
        assert digests.digest_of(file) == digest

    @pytest.mark.parametrize("change", ["size", "time", "inode"])
    def test_a_changed_file_is_hashed_again(self, folder, change):
        file = folder / "train-labels-idx1-ubyte.gz"
        digests.digest_of(file)
        content = file.read_bytes()
        if change == "inode":  # another file of the same size and time in its place
            (folder / "other").write_bytes(content[:-1] + b"x")
            os.replace(folder / "other", file)
        else:
            file.write_bytes(content + b"x" if change == "size" else content[:-1] + b"x")
        moment = LONG_AGO + (change == "time")
        os.utime(file, (moment, moment))
        assert digests.remembered_digest(file) is None
        assert digests.digest_of(file) == digests.file_digest(file)

    def test_a_file_of_this_moment_is_not_remembered(self, folder, monkeypatch):
        """It may change again before the clock of the file system ticks."""
        file = folder / "train-labels-idx1-ubyte.gz"
        for later, remembered in ((1, False), (3, True)):
            clock = SimpleNamespace(time=lambda later=later: file.stat().st_mtime + later)
            monkeypatch.setattr(digests, "time", clock)
            digests.digest_of(file)
            assert (digests.remembered_digest(file) is not None) == remembered

    def test_a_damaged_note_is_as_none(self, folder, tmp_path):
        file = folder / "train-labels-idx1-ubyte.gz"
        digest = digests.digest_of(file)
        (note,) = (tmp_path / "cache" / "digests").iterdir()
        for content in (b"", b"[]", b"{}", note.read_bytes().replace(b'"sha256": "', b'"x": "')):
            note.write_bytes(content)
            assert digests.remembered_digest(file) is None
            assert digests.digest_of(file) == digest

    def test_what_cannot_be_read_or_written(self, folder, tmp_path, monkeypatch):
        with pytest.raises(DataError, match="cannot be read: No such file"):
            digests.digest_of(tmp_path / "nothing")
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "file"))
        assert len(digests.digest_of(folder / "train-labels-idx1-ubyte.gz")) == 64


class TestPinned:
    def test_changed_content_is_never_taken_from_the_cache(self, folder, mnist, tiny):
        data.load("mnist", data_dir=folder)
        file = folder / "train-images-idx3-ubyte.gz"
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)  # of the same size
        with pytest.raises(DataError, match=r"train-images.*damaged|are not those of mnist"):
            data.load("mnist", data_dir=folder)

    def test_published_files_are_known_by_their_digests(self, folder, tiny, monkeypatch):
        pins = {file.name: digests.file_digest(file) for file in folder.iterdir()}
        stand_in(monkeypatch, "kmnist", tiny, files=pins)
        said: list[str] = []
        data.load("kmnist", data_dir=folder, say=said.append)
        assert not any("not verified" in line for line in said)
        rot(folder / "t10k-labels-idx1-ubyte.gz")
        os.utime(folder / "t10k-labels-idx1-ubyte.gz")
        with pytest.raises(DataError, match=r"t10k-labels.*not the published file of kmnist"):
            data.load("kmnist", data_dir=folder)

    def test_other_forms_of_it_are_said_not_to_be_verified(self, tmp_path, tiny, monkeypatch):
        stand_in(monkeypatch, "kmnist", tiny)
        folder = write_idx(tmp_path / "plain", tiny, compress=False)
        said: list[str] = []
        data.load("kmnist", data_dir=folder, say=said.append)
        assert said[0] == "kmnist: not verified: no digest of this form of it is pinned"

    def test_the_pins_are_those_of_tensorflow_datasets(self):
        builder_cls = pytest.importorskip("tensorflow_datasets").builder_cls
        for name in ("fashion_mnist", "kmnist"):
            infos = builder_cls(name).url_infos.values()
            assert KNOWN[name].files == {info.filename: info.checksum for info in infos}


class TestVerify:
    def test_all_is_well(self, folder, mnist):
        data.load("mnist", data_dir=folder)
        report = data.verify("mnist", data_dir=folder)
        assert report.ok
        assert [each.state for each in report.checked] == ["as before"] * 4 + ["as published"]
        assert "30 + 12 examples decoded" in str(report)
        places = data.verify("mnist").checked
        assert [each.state for each in places] == ["as published"]
        assert places[0].path == cache.entries("mnist")[0]

    def test_rot_that_loading_cannot_see_is_found(self, folder, mnist):
        data.load("mnist", data_dir=folder)
        rot(folder / "train-images-idx3-ubyte.gz")
        data.load("mnist", data_dir=folder)  # size, time and inode are as they were
        report = data.verify("mnist", data_dir=folder)
        assert not report.ok
        bad = [each for each in report.checked if each.state == "damaged"]
        assert bad[0].path.name == "train-images-idx3-ubyte.gz"
        assert "size and time are unchanged" in bad[0].detail

    def test_another_set_is_reported(self, folder, mnist, tiny, tmp_path):
        other = write_idx(tmp_path / "other", Splits(tiny.test, tiny.train))
        report = data.verify("mnist", data_dir=other)
        assert [each.state for each in report.checked] == ["first seen"] * 4 + ["damaged"]
        assert "expected 30" in report.checked[-1].detail

    def test_a_damaged_cache_entry_is_reported(self, folder, mnist):
        data.load("mnist", data_dir=folder)
        (entry,) = cache.entries("mnist")
        rot(entry / "test_images.npy")
        (found,) = data.verify("mnist").checked
        assert (found.path, found.state) == (entry, "damaged")
        assert "does not match its SHA-256" in found.detail

    def test_what_cannot_be_checked(self, tmp_path):
        with pytest.raises(ConfigError, match="'digits' cannot be verified: use one of mnist"):
            data.verify("digits")
        with pytest.raises(DataUnavailableError, match="in none of the places looked at"):
            data.verify("mnist", data_dir=tmp_path)

    def test_the_real_mnist(self, data_dir):
        report = data.verify("mnist", data_dir=data_dir)
        assert report.ok, str(report)
        assert report.checked[-1].state == "as published"
