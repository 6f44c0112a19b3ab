"""Prepared TensorFlow Datasets, read and made without TensorFlow.

The only module that imports `tensorflow_datasets`, and only when a function is called: the
import takes a third of a second. Four facts of tfds 4.9 shape this file:

- `builder.as_data_source()[i]` decodes 60,000 MNIST images in 13 s; reading the records in
  blocks and parsing them here takes 2.4 s.
- A truncated record file reads as an empty one, without an error. So counts are checked.
- Its own reader of descriptions imports the modules that they name. `prepared` is used instead.
- The stock `download_and_prepare` needs TensorFlow (it finds out after downloading), and
  with no network it hangs for minutes. So the builder's generator is replaced here: files
  are fetched with time-outs and checksums and parsed by our own IDX reader.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.idx import FILES, read_idx_array
from jaxcnn.data.prepared import Prepared, Split
from jaxcnn.errors import DataError, DataUnavailableError

_BLOCK = 1_000  # records parsed at a time
_TIMEOUT = (5, 30)  # seconds to connect, seconds between bytes
_TRIES = 2
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def find_prepared(root: Path, name: str) -> Path | None:
    """The newest prepared version of `name` below `root`, such as `root/mnist/3.0.1`."""
    versions = [info.parent for info in root.glob(f"{name}/*/dataset_info.json")]
    return max(versions, key=lambda path: _version(path.name), default=None)


def read_prepared(prepared: Prepared, name: str) -> Splits:
    """Reads the records of a prepared set.

    Args:
      prepared: what `describe` says of its folder.
      name: for the data sets' names.

    Raises:
      DataError: a file is damaged, or is not what its description says.
    """
    return Splits(
        train=_read_split(prepared, prepared.train, f"{name}/train"),
        test=_read_split(prepared, prepared.test, f"{name}/test"),
    )


def _read_split(prepared: Prepared, split: Split, name: str) -> Dataset:
    from array_record.python.array_record_module import ArrayRecordReader

    readers = []
    for path in split.files:
        with _explained(path):
            reader = ArrayRecordReader(str(path))
            readers.append((path, reader, reader.num_records()))
    found = sum(records for _, _, records in readers)
    if found != split.examples:
        raise DataError(
            f"{prepared.folder}: {found} examples of {name}, but the set declares "
            f"{split.examples}. A record file is truncated or damaged; delete the folder and "
            "prepare the set again."
        )
    shape = prepared.image_shape
    images: NDArray[np.uint8] = np.empty((split.examples, *shape), np.uint8)
    labels: NDArray[np.int32] = np.empty(split.examples, np.int32)
    row = 0
    for path, reader, records in readers:
        with _explained(path):
            for start in range(0, records, _BLOCK):
                for record in reader.read(start, min(start + _BLOCK, records)):
                    encoded, labels[row] = parse(record)
                    images[row] = _decode(encoded, shape)
                    row += 1
            reader.close()  # raises what its destructor would keep to itself
    return Dataset(name, images, labels, prepared.classes, source=str(prepared.folder))


def parse(record: bytes) -> tuple[bytes, int]:
    """The encoded picture and the label of an example; raises what its protobuf raises."""
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example.FromString(record).features.feature
    return feature["image"].bytes_list.value[0], int(feature["label"].int64_list.value[0])


def _decode(encoded: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decodes a picture that must have a given shape; nothing is decoded if its head differs."""
    from PIL import Image

    height, width, channels = shape
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        if image.size != (width, height) or image.mode != _MODES.get(channels):
            raise DataError(f"a picture of {image.size} {image.mode}, expected {list(shape)}")
        return np.asarray(image).reshape(shape)


def download_and_prepare(name: str, root: Path, say: Callable[[str], None]) -> Path:
    """Downloads an MNIST-like set and prepares it below `root` as tfds does.

    Args:
      name: "mnist", "fashion_mnist" or "kmnist".
      root: tfds' data folder.
      say: called with a line for each file fetched.

    Returns:
      The folder of the prepared set.

    Raises:
      DataUnavailableError: a file could not be fetched (no network, in about a second).
      DataError: a file is not the one that tfds has the checksum of.
    """
    import tensorflow_datasets as tfds
    from PIL import Image

    stock = tfds.builder_cls(name)
    known = {info.filename: (url, info) for url, info in stock.url_infos.items()}

    with tempfile.TemporaryDirectory(prefix="jaxcnn-") as temporary:
        for stems in FILES.values():
            for stem in stems:
                url, info = known[f"{stem}.gz"]
                say(f"fetching {url}")
                content = fetch(url, size=info.size, sha256=info.checksum)
                Path(temporary, f"{stem}.gz").write_bytes(content)

        def examples(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
            images, labels = (
                read_idx_array(Path(temporary, f"{stem}.gz"), rank)
                for stem, rank in zip(FILES[split], (3, 1), strict=True)
            )
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, "PNG")
                encoded.seek(0)
                yield index, {"image": encoded, "label": int(label)}

        dataset_name = name

        class Offline(stock, skip_registration=True):  # type: ignore[misc, valid-type, call-arg]
            """The stock builder, but for where its examples come from."""

            name = dataset_name

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                del dl_manager  # the files are here already
                return {"train": examples("train"), "test": examples("test")}

        say(f"preparing {name} in {root} (about 10 s)")
        with _explained(root):
            builder = Offline(data_dir=root, file_format="array_record")
            with contextlib.redirect_stdout(io.StringIO()):
                tfds.disable_progress_bar()
                builder.download_and_prepare(file_format="array_record")
            return Path(builder.data_path)


def fetch(url: str, *, size: int, sha256: str) -> bytes:
    """Downloads a file whose size and SHA-256 are known.

    Raises:
      DataUnavailableError: no connection, or an error from the server, twice.
      DataError: the content is not the expected one.
    """
    import requests

    failure: Exception | None = None
    for _ in range(_TRIES):
        try:
            with requests.get(url, timeout=_TIMEOUT, stream=True) as response:
                response.raise_for_status()
                content = bytearray()
                for block in response.iter_content(1 << 16):
                    content += block
                    if len(content) > size:
                        break
        except requests.RequestException as error:
            failure = error
            continue
        if hashlib.sha256(content).hexdigest() == sha256:
            return bytes(content)
        raise DataError(
            f"{url}: the downloaded file is not the expected one: {len(content)} bytes, SHA-256 "
            f"{hashlib.sha256(content).hexdigest()}, expected {size} bytes, {sha256}."
        )
    raise DataUnavailableError(
        f"{url}: cannot be downloaded: {type(failure).__name__}.\nCheck the network, or fetch the "
        "data elsewhere and pass its folder with --data-dir."
    ) from failure


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in name.split("."))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever tfds, its protobufs, array_record or Pillow raise into a `DataError`."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        first = str(error).partition("\n")[0][:200]
        raise DataError(
            f"{path}: cannot be used as a prepared data set: {type(error).__name__}: {first}.\n"
            "If the folder is complete and readable, a file is damaged: delete the data set's "
            "folder and prepare it again."
        ) from error
