"""Saving and restoring trees of arrays, verified.

A checkpoint is a folder: `arrays.npz` with every leaf under its path, and `manifest.json`
with the shape and dtype of each leaf, the SHA-256 of `arrays.npz` and its own. It appears all
at once or not at all, is replaced all at once, and no array in it is parsed before its digest
was found right.

Why a format of our own rather than Orbax: a flipped bit in the array file of an Orbax
checkpoint loads silently, its saves bring a dozen files and background threads, and a single
process with whole arrays needs neither. Why npz: it cannot hold code (pickles are refused),
NumPy alone opens it anywhere, and bfloat16, which it lacks, is stored as its bits.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn import storage
from jaxcnn.errors import CheckpointError, DamagedCheckpointError
from jaxcnn.untrusted import parse_npz, read_bytes, read_json

Tree = TypeVar("Tree")

_FORMAT = 1
_OVERHEAD = 4_096  # bytes that .npz adds to an array at most, but for its name, which it has twice
_PREFIX = "tree/"  # keeps names apart from np.savez's own arguments


def save(path: Path, tree: Any, about: dict[str, Any]) -> None:
    """Writes `tree` to the folder `path`, which is replaced if it exists.

    Args:
      path: folder of the checkpoint.
      tree: any tree of arrays, such as a `TrainState`.
      about: JSON values to keep with it (model, config, step).

    Raises:
      CheckpointError: a floating leaf is not finite: such a state is never saved.
      OutputError: the folder cannot be written; an existing checkpoint is untouched.
    """
    arrays: dict[str, Any] = {}
    leaves = {}
    for name, leaf in named_leaves(tree):
        array = np.asarray(leaf)  # host sync here
        if jnp.issubdtype(array.dtype, jnp.floating) and not np.isfinite(array).all():
            raise CheckpointError(f"{path}: not saved: {name} is not finite.")
        leaves[name] = {"dtype": array.dtype.name, "shape": list(array.shape)}
        arrays[_PREFIX + name] = _as_bits(array)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content = buffer.getvalue()  # no copy, and no view: see `storage`
    digest = hashlib.sha256(content).hexdigest()
    manifest = {"format": _FORMAT, "about": about, "arrays_sha256": digest, "leaves": leaves}
    manifest["sha256"] = manifest_digest(manifest)
    with storage.new_folder(path) as folder:
        storage.write_new(folder / "arrays.npz", content)
        storage.write_new(folder / "manifest.json", storage.as_json(manifest))


def restore(path: Path, like: Tree) -> Tree:
    """Reads the checkpoint at `path` into a tree of the structure of `like`.

    Args:
      path: folder that `save` wrote.
      like: a tree with the wanted structure, shapes and dtypes (arrays or specs).

    Raises:
      CheckpointError: it is missing, incomplete, damaged, or of another model; names the leaf.
    """
    manifest = read_manifest(path)
    stored = manifest["leaves"]
    wanted = dict(named_leaves(like))
    missing = sorted(set(wanted) - set(stored))
    extra = sorted(set(stored) - set(wanted))
    if missing or extra:
        raise CheckpointError(
            f"{path}: belongs to another model or optimizer: "
            f"missing {_some(missing)}; not expected {_some(extra)}."
        )
    for name, spec in wanted.items():
        here = (stored[name]["dtype"], tuple(stored[name]["shape"]))
        expected = (np.dtype(spec.dtype).name, tuple(spec.shape))
        if here != expected:
            raise CheckpointError(
                f"{path}: belongs to another model: {name} is {here[0]}{list(here[1])}, "
                f"expected {expected[0]}{list(expected[1])}."
            )
    file = storage.standing(path) / "arrays.npz"
    most = _OVERHEAD + sum(
        math.prod(spec.shape) * spec.dtype.itemsize + _OVERHEAD + 2 * len(name.encode())
        for name, spec in wanted.items()
    )
    try:
        content = read_bytes(file, most=most, error=DamagedCheckpointError, follow=False)
    except DamagedCheckpointError as error:
        raise _unless_damage(path, error) from error
    if hashlib.sha256(content).hexdigest() != manifest["arrays_sha256"]:
        raise DamagedCheckpointError(f"{path}: arrays.npz does not match its SHA-256: damaged.")
    arrays = parse_npz(content, file, most_members=len(wanted), error=DamagedCheckpointError)
    restored = {}
    for name, spec in wanted.items():
        bits = arrays.get(_PREFIX + name)
        dtype = np.dtype(spec.dtype)
        if bits is None or bits.shape != spec.shape or bits.dtype != _bits_of(dtype):
            raise DamagedCheckpointError(f"{file}: holds no {name} as its manifest says: damaged.")
        restored[name] = jnp.asarray(bits.view(dtype))
    treedef = jax.tree.structure(like)
    return jax.tree.unflatten(treedef, [restored[name] for name in wanted])


def read_manifest(path: Path) -> dict[str, Any]:
    """The verified manifest of a checkpoint.

    Raises:
      CheckpointError: it is missing, damaged or of an unknown format.
    """
    file = storage.standing(path) / "manifest.json"
    try:
        manifest = read_json(file, error=DamagedCheckpointError)
    except DamagedCheckpointError as error:
        raise _unless_damage(path, error) from error
    digest, version = manifest.pop("sha256", None), manifest.get("format")
    if digest is None or version is None:
        raise DamagedCheckpointError(f"{path}: no usable checkpoint: {file.name} lacks its digest.")
    if digest != manifest_digest(manifest):
        raise DamagedCheckpointError(f"{file}: does not match its SHA-256: damaged.")
    if version != _FORMAT:
        raise CheckpointError(f"{file}: format {version!r} is not known; this version reads 1.")
    leaves = manifest.get("leaves")
    if (
        not isinstance(leaves, dict)
        or not isinstance(manifest.get("about"), dict)
        or not isinstance(manifest.get("arrays_sha256"), str)
        or not all(map(_is_leaf, leaves.values()))
    ):
        raise DamagedCheckpointError(f"{file}: its fields are not those of a checkpoint: damaged.")
    return manifest


def _is_leaf(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("dtype"), str)
        and isinstance(value.get("shape"), list)
        and all(type(size) is int and size >= 0 for size in value["shape"])
    )


def delete(path: Path) -> None:
    """Deletes a checkpoint: at every moment it is whole or not there.

    Raises:
      OutputError: it cannot be deleted.
    """
    storage.delete_folder(path)


_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)
"""Failures to read that stay. After others, such as too many open files, it may be read later."""


def _unless_damage(path: Path, error: DamagedCheckpointError) -> CheckpointError:
    """The error as it is, unless the checkpoint could be read at another time or by another user.

    Then it is not to be passed over: what is passed over is deleted when the training goes on.
    """
    cause = error.__cause__
    if isinstance(cause, PermissionError):
        return CheckpointError(
            f"{path}: may not be read: {cause.strerror}.\n"
            "Run as the user whose run it is, or make its files readable."
        )
    if isinstance(cause, OSError) and cause.errno not in _DAMAGE:
        return CheckpointError(f"{error}\nThis is not damage: nothing was changed.")
    return DamagedCheckpointError(f"{path}: no usable checkpoint: {error}")


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Every leaf with its path, such as "params/conv1/kernel", in the tree's order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def _as_bits(array: NDArray[Any]) -> NDArray[Any]:
    """NumPy's own dtypes as they are; others (bfloat16) as unsigned integers of their bits."""
    return array.view(_bits_of(array.dtype))


def _bits_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")


def manifest_digest(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest without its own digest."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
