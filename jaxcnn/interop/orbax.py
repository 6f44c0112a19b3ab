"""Sharded checkpoints of many hosts, written by Orbax and verified by a manifest of our own.

`jaxcnn.checkpoint` holds whole arrays in one file, which one process writes: right for states that
every device has as a whole. Where arrays are divided over hosts and no host can hold them, Orbax
writes each host's shards. It loads a flipped bit silently; so every file's SHA-256 stands in
`manifest.json`, and no file is parsed before all are found right.

Needs the extra `orbax`. All hosts must see the same folder. Every process calls these functions.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxcnn import storage
from jaxcnn.checkpoint import manifest_digest, named_leaves
from jaxcnn.errors import CheckpointError, DamagedCheckpointError
from jaxcnn.parallel import on_main
from jaxcnn.untrusted import read_json

Tree = TypeVar("Tree")

_FORMAT = "orbax-1"
_MANIFEST, _ARRAYS = "manifest.json", "arrays"
_CHUNK = 1 << 22  # bytes


def save(path: Path, tree: Any, about: dict[str, Any]) -> None:
    """Writes `tree` to the folder `path`, which is replaced if it exists, all at once.

    Args:
      path: folder of the checkpoint.
      tree: any tree of arrays, divided over devices in any way.
      about: JSON values to keep with it.

    Raises:
      CheckpointError: a floating leaf is not finite: such a state is never saved.
      OutputError: the folder cannot be written; an existing checkpoint is untouched.
    """
    leaves = {name: _describe(path, name, leaf) for name, leaf in named_leaves(tree)}
    with ExitStack() as held:
        # Process 0 makes the temporary folder and renames it when all have written.
        folder = Path(on_main(lambda: str(held.enter_context(storage.new_folder(path)))))
        _checkpointer().save(folder.absolute() / _ARRAYS, tree)

        def finish() -> str:
            manifest = {
                "format": _FORMAT,
                "about": about,
                "leaves": leaves,
                "files": {name: _digest(folder / name) for name in _files(folder)},
            }
            manifest["sha256"] = manifest_digest(manifest)
            storage.write_new(folder / _MANIFEST, storage.as_json(manifest))
            held.close()
            return ""

        on_main(finish)


def restore(path: Path, like: Tree) -> Tree:
    """Reads what `save` wrote, into the shapes, dtypes and shardings of `like`.

    Args:
      path: folder of the checkpoint.
      like: a tree of arrays, or of `jax.ShapeDtypeStruct` with shardings: they need not be those
        that it was saved from, nor on as many devices.

    Raises:
      CheckpointError: it belongs to another model; names the leaf.
      DamagedCheckpointError: a file is missing, there is one too many, or one is not what was
        written; names it.
    """
    stored = json.loads(on_main(lambda: json.dumps(verify(path)["leaves"])))
    wanted = {name: _shape(leaf) for name, leaf in named_leaves(like)}
    for name in sorted({*stored, *wanted}):
        if stored.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path}: belongs to another model or optimizer: {name} is "
                f"{stored.get(name, 'missing')}, expected {wanted.get(name, 'none')}."
            )
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    folder = storage.standing(path).absolute() / _ARRAYS
    restored: Tree = _checkpointer().restore(folder, args=ocp.args.StandardRestore(target))
    return restored


def verify(path: Path) -> dict[str, Any]:
    """Holds every file against the manifest, and returns the manifest.

    Raises:
      DamagedCheckpointError: see `restore`.
    """
    folder = storage.standing(path)
    manifest = read_json(folder / _MANIFEST, error=DamagedCheckpointError)
    sealed = manifest.pop("sha256", None)
    if sealed != manifest_digest(manifest):
        raise DamagedCheckpointError(f"{folder / _MANIFEST}: does not match its SHA-256: damaged.")
    if manifest.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: format {manifest.get('format')!r} is not {_FORMAT!r}.")
    listed = manifest["files"]
    for name in sorted({*listed, *_files(folder)}):
        if name not in listed:
            raise DamagedCheckpointError(f"{folder / name}: is not of this checkpoint: damaged.")
        if not (folder / name).is_file() or _digest(folder / name) != listed[name]:
            raise DamagedCheckpointError(f"{folder / name}: is not what was written: damaged.")
    return manifest


def _checkpointer() -> Any:
    return ocp.Checkpointer(ocp.StandardCheckpointHandler())


def _shape(leaf: Any) -> str:
    return f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}"


def _describe(path: Path, name: str, leaf: Any) -> str:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    if floating and not bool(jax.jit(_all_finite)(leaf)):  # host sync here
        raise CheckpointError(f"{path}: not saved: {name} is not finite.")
    return _shape(leaf)


def _all_finite(x: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(x))


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest; links, which `save` makes none of, too."""
    found = []
    for here, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        found += [str((Path(here) / name).relative_to(folder)) for name in (*names, *links)]
    return sorted(name for name in found if name != _MANIFEST)


def _digest(file: Path) -> str:
    sha = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
