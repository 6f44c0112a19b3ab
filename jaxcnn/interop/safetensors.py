"""Trees of arrays as safetensors files, which most libraries of neural networks read.

The format cannot hold code. It has no checksum either: a flipped bit loads silently. So `save`
puts a SHA-256 into the metadata, which other libraries ignore and `load` verifies. The header
is checked here before the library sees it.

Needs the package safetensors: `pip install jaxcnn[safetensors]`.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn import storage
from jaxcnn.errors import ConfigError, DataError
from jaxcnn.interop.paths import flatten, nest
from jaxcnn.untrusted import parse_json, read_bytes

DIGEST = "jaxcnn.sha256"
"""Key in the metadata under which the digest stands."""

_DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
_MOST_BYTES = 64 << 30
_MOST_HEADER = 8 << 20
_MOST_RANK = 32


def save(path: Path, tree: Mapping[str, Any], about: Mapping[str, str] | None = None) -> None:
    """Writes nested dicts of arrays to a file, under paths such as `conv1/kernel`.

    Args:
      path: the file; it is replaced as a whole.
      tree: nested dicts of arrays, such as parameters.
      about: texts to keep with them.

    Raises:
      ConfigError: a name is empty or holds "/", a leaf is no array of a dtype that the format
        knows, or `about` is not made of texts.
      OutputError: the file cannot be written.
    """
    from safetensors.numpy import save as serialize

    _check_names(tree)
    arrays = {name: _plain(leaf) for name, leaf in flatten(tree).items()}
    known = {np.dtype(dtype) for dtype in _DTYPES.values()}
    for name, array in arrays.items():
        if array.dtype not in known:
            raise ConfigError(f"{name} is {array.dtype.name}, which safetensors files do not hold.")
    texts = dict(about or {})
    if DIGEST in texts or not all(isinstance(x, str) for pair in texts.items() for x in pair):
        raise ConfigError(f"about={texts!r} is not allowed: expected texts, and none {DIGEST!r}.")
    storage.write_bytes(path, serialize(arrays, texts | {DIGEST: _digest(arrays, texts)}))


def load(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads nested dicts of arrays from a file; names are parted at "/".

    Names of other libraries, such as PyTorch's `conv1.weight`, stay whole.

    Args:
      path: a file by any library.

    Returns:
      The tree, of NumPy arrays that cannot be written to, and the texts kept with it.

    Raises:
      DataError: the file is no safetensors file, is damaged, or does not match the digest in its
        metadata.
    """
    from safetensors import deserialize

    content = read_bytes(path, most=_MOST_BYTES, error=DataError)
    texts = _check(path, content)
    try:
        tensors = deserialize(content)
    except Exception as error:  # its own class, which differs between versions
        raise DataError(f"{path}: refused by safetensors: {error}.") from error
    arrays: dict[str, NDArray[Any]] = {}
    for name, found in tensors:
        flat: NDArray[Any] = np.frombuffer(found["data"], _DTYPES[found["dtype"]])
        arrays[name] = flat.reshape(found["shape"])
        arrays[name].flags.writeable = False
    digest = texts.pop(DIGEST, None)
    if digest is not None and digest != _digest(arrays, texts):
        raise DataError(f"{path}: does not match the SHA-256 in its metadata: damaged.")
    return nest(arrays), texts


def _check(path: Path, content: bytes) -> dict[str, str]:
    """Holds the header against the bytes that are there; returns the metadata."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(_MOST_HEADER, len(content) - 8):
        raise DataError(
            f"{path}: a header of {size} bytes in a file of {len(content)}, expected at most "
            f"{_MOST_HEADER}: no safetensors file, or damaged."
        )
    try:
        text = content[8 : 8 + size].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: its header is not UTF-8 text: damaged.") from error
    header = parse_json(text, path, error=DataError)
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DataError(f"{path}: its metadata are not texts.")
    ranges = []
    for name, entry in header.items():
        if not _is_entry(entry):
            raise DataError(f"{path}: {name[:80]!r} is not described as an array is: damaged.")
        begin, end = entry["data_offsets"]
        dtype, shape = entry["dtype"], entry["shape"]
        if dtype not in _DTYPES:
            raise DataError(f"{path}: {name[:80]!r} is {dtype[:80]!r}: use {', '.join(_DTYPES)}.")
        if math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize != end - begin:
            raise DataError(
                f"{path}: {name[:80]!r} is {dtype}{shape[:8]}, but {end - begin} bytes are its: "
                "damaged."
            )
        ranges.append((begin, end))
    place = 0
    for begin, end in sorted(ranges):
        if begin != place:
            raise DataError(f"{path}: arrays overlap or leave a gap at byte {place}: damaged.")
        place = end
    if place != len(content) - 8 - size:
        raise DataError(
            f"{path}: {len(content) - 8 - size} bytes of data, but {place} are declared: damaged."
        )
    _check_paths(path, list(header))
    return texts


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return False
    shape, offsets = entry["shape"], entry["data_offsets"]
    return (
        isinstance(entry["dtype"], str)
        and all(
            isinstance(numbers, list)
            and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
            for numbers in (shape, offsets)
        )
        and len(shape) <= _MOST_RANK
        and len(offsets) == 2
    )


def _check_paths(path: Path, names: list[str]) -> None:
    """Refuses names that would put a leaf where others have their parent, or nowhere."""
    given = set(names)
    for name in names:
        parts = name.split("/")
        if "" in parts or len(parts) > _MOST_RANK:
            raise DataError(f"{path}: {name[:80]!r} is no path in a tree.")
        if any("/".join(parts[:end]) in given for end in range(1, len(parts))):
            raise DataError(f"{path}: {name[:80]!r} lies below another array.")


def _plain(leaf: Any) -> NDArray[Any]:
    """In C order, and in this machine's byte order."""
    array = np.asarray(leaf, order="C")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_names(tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ConfigError(f"the name {name!r} is not allowed: expected a text without '/'.")
        if isinstance(value, Mapping):
            _check_names(value)


def _digest(arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes by name, and the texts."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.name, list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
