"""Data sets: the type, the readers, the cache, the order in which places are tried."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import shutil
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import Dataset, Splits, cache, tfds
from jaxcnn.data.idx import FILES, read_idx_array
from jaxcnn.data.known import KNOWN, content_digest
from jaxcnn.errors import ConfigError, DataError, DataUnavailableError

DIGITS = tuple("0123456789")


def idx_bytes(array: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, splits: Splits, *, compress: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in FILES.items():
        part: Dataset = getattr(splits, split)
        for stem, array in ((images, part.images[..., 0]), (labels, part.labels)):
            content = idx_bytes(array)
            name = f"{stem}.gz" if compress else stem
            (folder / name).write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.fixture
def tiny(rng) -> Splits:
    def part(count):
        return Dataset(
            "tiny",
            rng.integers(256, size=(count, 5, 4, 1)).astype(np.uint8),
            rng.integers(10, size=count).astype(np.int32),
            DIGITS,
            "tests",
        )

    return Splits(part(30), part(12))


@pytest.fixture(autouse=True)
def _own_places(tmp_path, monkeypatch):
    """Neither the user's cache nor their data folder is looked at."""
    monkeypatch.setenv("JAXCNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def known(tiny, monkeypatch):
    """Makes "mnist" stand for the tiny set, content pinned."""
    entry = dataclasses.replace(
        KNOWN["mnist"],
        image_shape=(5, 4, 1),
        train=30,
        test=12,
        content=(content_digest(tiny.train), content_digest(tiny.test)),
    )
    monkeypatch.setitem(KNOWN, "mnist", entry)
    return entry


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


class TestDownload:
    """Against a server on this machine that stands for the mirror."""

    @pytest.fixture
    def mirror(self, tmp_path, tiny, known, monkeypatch):
        import functools
        import http.server
        import socket
        import threading

        import tensorflow_datasets

        folder = write_idx(tmp_path / "mirror", tiny)

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            socket.create_connection(server.server_address, timeout=5).close()
        except OSError as error:  # as under `unshare -n`
            server.shutdown()
            server.server_close()
            pytest.skip(f"needs the loopback interface: {error}")
        base = f"http://127.0.0.1:{server.server_port}/"

        @dataclasses.dataclass
        class Info:
            filename: str
            size: int
            checksum: str

        infos = {}
        for file in folder.iterdir():
            content = file.read_bytes()
            infos[base + file.name] = Info(
                file.name, len(content), hashlib.sha256(content).hexdigest()
            )
        stock = tensorflow_datasets.builder_cls("mnist")
        features = tensorflow_datasets.features

        class Stub(stock, skip_registration=True):  # tiny images instead of 28x28
            name = "mnist"
            url_infos = infos

            def _info(self):
                return self.dataset_info_from_configs(
                    features=features.FeaturesDict(
                        {
                            "image": features.Image(shape=(5, 4, 1)),
                            "label": features.ClassLabel(num_classes=10),
                        }
                    )
                )

        monkeypatch.setattr(tensorflow_datasets, "builder_cls", lambda name: Stub)
        yield folder
        server.shutdown()
        server.server_close()

    def test_fetches_prepares_and_reads_without_tensorflow(self, tmp_path, tiny, mirror):
        import sys

        said: list[str] = []
        splits = data.load("mnist", download=True, say=said.append)
        assert sum(line.startswith("fetching http://127.0.0.1") for line in said) == 4
        assert sorted(i.tobytes() for i in splits.train.images) == sorted(
            i.tobytes() for i in tiny.train.images
        )
        folder = tmp_path / "home" / "tensorflow_datasets" / "mnist" / "3.0.1"
        assert (folder / "dataset_info.json").exists()
        assert "tensorflow" not in sys.modules
        shutil.rmtree(tmp_path / "cache")
        said.clear()
        again = data.load("mnist", say=said.append)
        assert said[-1] == f"mnist: decoding {folder}"
        assert again.train.fingerprint == splits.train.fingerprint

    def test_a_wrong_file_is_refused_and_nothing_is_left(self, tmp_path, mirror):
        (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
        with pytest.raises(DataError, match="not the expected one"):
            data.load("mnist", download=True)
        assert not list((tmp_path / "home").rglob("dataset_info.json"))

    def test_a_file_the_server_lacks_is_unavailable(self, mirror):
        (mirror / "train-images-idx3-ubyte.gz").unlink()
        with pytest.raises(DataUnavailableError, match="cannot be downloaded: HTTPError"):
            data.load("mnist", download=True)

    def test_no_server_is_a_clear_error(self):
        with pytest.raises(DataUnavailableError, match="cannot be downloaded: ConnectionError"):
            tfds.fetch("http://127.0.0.1:9/x", size=1, sha256="")


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
