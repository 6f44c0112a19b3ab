"""The formats that are fuzzed: an honest file, the reader, and a judge of what it read.

A judge shares no code with the reader: gzip, json, NumPy and Pillow tell what the mutated file
holds. Where a file carries a digest, the only right answer is what was saved.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import jaxcnn.interop.safetensors as weights
from experiments.harness.config import Config, from_json, to_json
from jaxcnn import checkpoint
from jaxcnn.data import Dataset, ImageFolder, Splits, cache
from jaxcnn.data.idx import read_idx_array
from jaxcnn.data.prepared import describe
from jaxcnn.data.tfds import read_prepared
from jaxcnn.errors import DataError
from jaxcnn.run import RunFolder
from jaxcnn.untrusted import parse_npy, parse_npz
from tests.chaos.prepared_files import write_prepared

Judge = Callable[[Path, Any, Any], bool]  # mutated file, what was read, what the honest one gave


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
      make: writes an honest file, and what belongs to it, into a folder; returns the file.
      read: reads it by jaxcnn, given the file.
      judge: whether what was read is proven to be what the file holds.
      seal: repairs the digests that cover the file, as an attacker would.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    judge: Judge
    seal: Callable[[Path], None] | None = None


def same(one: Any, two: Any) -> bool:
    """Equal to the bit: containers, arrays, numbers."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    if hasattr(one, "dtype") or hasattr(two, "dtype"):
        a, b = np.asarray(one), np.asarray(two)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(one) is type(two) and one == two


def unchanged(path: Path, read: Any, honest: Any) -> bool:
    del path
    return same(read, honest)


def tree() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {
        "conv1": {"kernel": rng.normal(size=(3, 3, 1, 4)).astype(np.float32)},
        "fc": {"bias": rng.normal(size=6).astype(np.float16), "count": np.int32(7)},
    }


def dataset(rng: np.random.Generator, count: int) -> Dataset:
    images = rng.integers(256, size=(count, 5, 4, 1)).astype(np.uint8)
    labels = rng.integers(10, size=count).astype(np.int32)
    return Dataset("tiny", images, labels, tuple("0123456789"), "tests")


def splits() -> Splits:
    rng = np.random.default_rng(6)
    return Splits(dataset(rng, 30), dataset(rng, 12))


def _write(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def idx_bytes() -> bytes:
    pixels = splits().train.images[..., 0]
    return struct.pack(">HBB3I", 0, 8, 3, *pixels.shape) + pixels.tobytes()


def _idx_judge(path: Path, read: Any, honest: Any) -> bool:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    head = struct.unpack(">I3I", content[:16])
    return head == (0x803, *read.shape) and read.tobytes() == content[16:]


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _numpy(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _save_checkpoint(folder: Path) -> Path:
    checkpoint.save(folder / "c", tree(), {"step": 3})
    return folder / "c"


def restore(path: Path) -> Any:
    """The tree of a checkpoint and what it says about itself."""
    found = checkpoint.read_manifest(path.parent)
    return checkpoint.restore(path.parent, tree()), found["about"]


def seal_checkpoint(path: Path) -> None:
    """Makes the manifest's digests those of the files at hand, if it can be parsed."""
    file = path.parent / "manifest.json"
    try:
        manifest = json.loads(file.read_bytes())
        manifest.pop("sha256", None)
        content = (path.parent / "arrays.npz").read_bytes()
        manifest["arrays_sha256"] = hashlib.sha256(content).hexdigest()
        text = json.dumps(manifest, sort_keys=True)
        manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(json.dumps(manifest))
    except (ValueError, AttributeError, TypeError):
        return  # the mutated text is no object: it stays as it is


def _checkpoint_judge(path: Path, read: Any, honest: Any) -> bool:
    there = _numpy(path.parent / "arrays.npz")
    names = {"conv1/kernel", "fc/bias", "fc/count"}
    state = {f"tree/{n}": read[0][n.split("/")[0]][n.split("/")[1]] for n in names}
    about = json.loads((path.parent / "manifest.json").read_bytes())["about"]
    return same(state, {name: there[name] for name in state}) and same(read[1], about)


def _save_entry(folder: Path) -> Path:
    cache.write(folder / "entry", splits())
    return folder / "entry"


def _read_entry(path: Path) -> Any:
    read = cache.read(path.parent)
    return [part for half in (read.train, read.test) for part in (half.images, half.labels)]


def seal_entry(path: Path) -> None:
    """Makes the manifest's digest that of the array at hand."""
    file = path.parent / "manifest.json"
    manifest = json.loads(file.read_bytes())
    manifest["sha256"][path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
    file.write_text(json.dumps(manifest))


def _entry_judge(path: Path, read: Any, honest: Any) -> bool:
    there = [
        np.load(path.parent / f"{name}.npy", allow_pickle=False)
        for name in ("train_images", "train_labels", "test_images", "test_labels")
    ]
    return same(read, there) and all(
        0 <= labels.min() <= labels.max() < 10 for labels in there[1::2]
    )


def _read_config(path: Path) -> Any:
    return to_json(from_json(Config, path))


def _json_judge(path: Path, read: Any, honest: Any) -> bool:
    return same(read, json.loads(path.read_bytes()))


def _config_judge(path: Path, read: Any, honest: Any) -> bool:
    there = json.loads(path.read_bytes())
    kinds_kept = all(
        isinstance(there[name], type(value)) or {type(there[name]), type(value)} == {int, float}
        for name, value in honest.items()
        if value is not None
        and not (name == "save_minutes" and there[name] is None)  # which means never
    )
    for name in ("out", "data_dir", "resume"):  # "a//b" is read as "a/b"
        there[name] = there[name] and str(Path(there[name]))
    return read == there and kinds_kept


def _make_log(folder: Path) -> Path:
    lines = [{"kind": "train", "step": step, "loss": 1.5 / (1 + step)} for step in range(20)]
    return _write(folder, "metrics.jsonl", "".join(f"{json.dumps(x)}\n" for x in lines).encode())


def _log_judge(path: Path, read: Any, honest: Any) -> bool:
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # half a line is what a kill leaves
    return same(read, [json.loads(line) for line in whole.decode().splitlines()])


def read_set(path: Path) -> Any:
    read = read_prepared(describe(path.parent), "tiny")
    return [part for half in (read.train, read.test) for part in (half.images, half.labels)]


def _make_set(name: str) -> Callable[[Path], Path]:
    return lambda folder: write_prepared(folder, splits()) / name


def _make_picture(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "set" / "class").mkdir(parents=True)
        pixels = np.random.default_rng(7).integers(256, size=(6, 7, 3)).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((42, 31), Image.Resampling.BICUBIC)
        picture.save(folder / "set" / "class" / "x.png", kind)
        return folder / "set" / "class" / "x.png"

    return make


def _read_picture(path: Path) -> Any:
    return ImageFolder.open(path.parent.parent).read(0)


def _picture_judge(path: Path, read: Any, honest: Any) -> bool:
    # From memory, as Pillow allocates the 4 GB that a chunk claims if it is to come from a file.
    with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG", "JPEG"]) as image:
        image.load()
        if image.mode != "RGB" or "transparency" in image.info or image.getexif():
            return read.dtype == np.uint8 and sorted(read.shape[:2]) == sorted(image.size)
        return same(read, np.asarray(image))


def _save_weights(folder: Path) -> Path:
    weights.save(folder / "w.safetensors", tree(), {"model": "tiny"})
    return folder / "w.safetensors"


def _weights_judge(path: Path, read: Any, honest: Any) -> bool:
    """Where the digest is still there, nothing may have changed; else NumPy reads the same."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    texts = header.pop("__metadata__", {})
    if weights.DIGEST in texts:
        return same(read, honest)
    kinds = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "U32": "<u4", "U16": "<u2", "I16": "<i2"}
    flat = {}
    for name, entry in header.items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        flat[name] = np.frombuffer(content[begin:end], kinds[entry["dtype"]]).reshape(
            entry["shape"]
        )
    return same(weights.flatten(read[0]), flat) and read[1] == texts


FORMATS = {
    "idx": Format(
        lambda f: _write(f, "i", idx_bytes()), lambda p: read_idx_array(p, 3), _idx_judge
    ),
    "idx.gz": Format(
        lambda f: _write(f, "i.gz", gzip.compress(idx_bytes(), mtime=0)),
        lambda p: read_idx_array(p, 3),
        _idx_judge,
    ),
    "npy": Format(
        lambda f: _write(f, "a.npy", npy_bytes(tree()["conv1"]["kernel"])),
        lambda p: parse_npy(p.read_bytes(), p, error=DataError),
        lambda p, read, honest: same(read, np.load(p, allow_pickle=False)),
    ),
    "npz": Format(
        lambda f: _write(f, "a.npz", npz_bytes(a=np.arange(40.0), b=np.int8([[1], [2]]))),
        lambda p: parse_npz(p.read_bytes(), p, most_members=2, error=DataError),
        lambda p, read, honest: same(read, _numpy(p)),
    ),
    "checkpoint": Format(
        lambda f: _save_checkpoint(f) / "arrays.npz", restore, _checkpoint_judge, seal_checkpoint
    ),
    "manifest": Format(lambda f: _save_checkpoint(f) / "manifest.json", restore, unchanged),
    "sealed manifest": Format(
        lambda f: _save_checkpoint(f) / "manifest.json", restore, _checkpoint_judge, seal_checkpoint
    ),
    "cache": Format(
        lambda f: _save_entry(f) / "train_labels.npy", _read_entry, _entry_judge, seal_entry
    ),
    "cache manifest": Format(lambda f: _save_entry(f) / "manifest.json", _read_entry, unchanged),
    "config": Format(
        lambda f: _write(f, "config.json", json.dumps(to_json(Config()), indent=2).encode()),
        _read_config,
        _config_judge,
    ),
    "record": Format(
        lambda f: _write(f, "record.json", b'{"versions": {"jax": "0.10.2"}, "accuracy": 0.9944}'),
        lambda p: RunFolder(p.parent).read_record(),
        _json_judge,
    ),
    "metrics": Format(_make_log, lambda p: RunFolder(p.parent).history(), _log_judge),
    "dataset_info": Format(_make_set("dataset_info.json"), read_set, unchanged),
    "features": Format(_make_set("features.json"), read_set, unchanged),
    "array_record": Format(
        _make_set("tiny-train.array_record-00000-of-00001"), read_set, unchanged
    ),
    "png": Format(_make_picture("PNG"), _read_picture, _picture_judge),
    "jpeg": Format(_make_picture("JPEG"), _read_picture, _picture_judge),
    "safetensors": Format(_save_weights, weights.load, _weights_judge),
}
