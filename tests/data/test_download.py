"""Fetching MNIST."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil

import pytest

from jaxcnn import data
from jaxcnn.data import tfds
from jaxcnn.errors import DataError, DataUnavailableError
from tests.data.idx_files import write_idx


class TestDownload:
    """Against a server on this machine that stands for the mirror."""

    @pytest.fixture
    def mirror(self, tmp_path, tiny, known, monkeypatch):
        import functools
        import http.server
        import socket
        import threading

        import tensorflow_datasets

        monkeypatch.setenv("no_proxy", "127.0.0.1")
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
