"""A step that was not finite, kept in a folder so that it can be repeated elsewhere.

A bundle has the form of a checkpoint: arrays with their SHA-256, nothing that is executed. It
holds what the step started from (train state, batch, key), and says what was found. Floating
arrays are stored as their bits: a bundle may hold what no checkpoint may, numbers that are
not finite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxcnn import checkpoint
from jaxcnn.errors import CheckpointError
from jaxcnn.train import Fault, TrainState
from jaxcnn.typing import Batch
from jaxcnn.untrusted import field

_KIND = "fault"


def save(path: Path, fault: Fault, about: dict[str, Any]) -> None:
    """Writes a fault to the folder `path`.

    Args:
      path: folder of the bundle; replaced if it exists.
      fault: as `NumericalError.fault` has it.
      about: JSON values to keep with it, such as the experiment and its settings.

    Raises:
      OutputError: the folder cannot be written.
    """
    batch = {name: value for name, value in fault.batch._asdict().items() if value is not None}
    tree = {
        "train_state": fault.train_state,
        "batch": batch,
        "key": jax.random.key_data(fault.key),
    }
    found = {
        "kind": _KIND,
        "step": fault.step,
        "place": fault.place,
        "key": str(jax.random.key_impl(fault.key)),
        "batch": {name: np.dtype(value.dtype).name for name, value in batch.items()},
    }
    checkpoint.save(path, jax.tree.map(_to_bits, tree), about | found)


def about(path: Path) -> dict[str, Any]:
    """What `save` was told about the bundle, with "step" and "place" of the fault.

    Raises:
      CheckpointError: the folder is no bundle, or damaged.
    """
    stored: dict[str, Any] = checkpoint.read_manifest(path)["about"]
    if stored.get("kind") != _KIND:
        raise CheckpointError(
            f"{path}: is a checkpoint, not a replay bundle.\n"
            "Those are in the folder faults/ of a run."
        )
    return stored


def load(path: Path, like: TrainState) -> Fault:
    """Reads a bundle.

    Args:
      path: folder that `save` wrote.
      like: structure, shapes and dtypes of the train state (arrays or specs).

    Raises:
      CheckpointError: the folder is no bundle, damaged, or of another model.
    """
    stored = about(path)
    leaves = checkpoint.read_manifest(path)["leaves"]
    rows = field(stored, "batch", dict, path, error=CheckpointError)

    def spec(name: str) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaves[name]["shape"], np.dtype(leaves[name]["dtype"]))

    try:  # its fields are those of a checkpoint, but what they say may be anything
        dtypes = {name: np.dtype(dtype) for name, dtype in rows.items()}
        parts = {"batch": {name: spec(f"batch/{name}") for name in rows}, "key": spec("key")}
    except (KeyError, TypeError, ValueError) as error:
        raise _odd(path, error) from error
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, _bits(x.dtype)), like)
    tree = checkpoint.restore(path, {"train_state": state, **parts})
    state = jax.tree.map(lambda x, to: _from_bits(x, to.dtype), tree["train_state"], like)
    try:
        batch = {name: _from_bits(tree["batch"][name], dtype) for name, dtype in dtypes.items()}
        return Fault(
            step=field(stored, "step", int, path, error=CheckpointError),
            place=field(stored, "place", str, path, error=CheckpointError),
            train_state=state,
            batch=Batch(**batch),
            key=jax.random.wrap_key_data(
                tree["key"], impl=field(stored, "key", str, path, error=CheckpointError)
            ),
        )
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise _odd(path, error) from error


def _odd(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: its fields are not those of a replay bundle: {error!r}.")


def _bits(dtype: Any) -> np.dtype[Any]:
    """Unsigned integers as wide as a floating dtype; other dtypes as they are."""
    dtype = np.dtype(dtype)
    return np.dtype(f"u{dtype.itemsize}") if jnp.issubdtype(dtype, jnp.floating) else dtype


def _to_bits(x: Any) -> NDArray[Any]:
    array = np.asarray(x)  # host sync here
    return array.view(_bits(array.dtype))


def _from_bits(x: Any, dtype: Any) -> jax.Array:
    return jnp.asarray(np.asarray(x).view(np.dtype(dtype)))
