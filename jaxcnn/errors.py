"""The errors of jaxcnn. Every one derives from `JaxcnnError`.

Each also derives from the built-in class that fits (`ValueError`, `ArithmeticError`),
so that code which already catches those keeps working. The first line of a message
says what was got and what is allowed; further lines name the remedy. `explain`
joins a message with the notes that name the layer (PEP 678).
"""

from __future__ import annotations


class JaxcnnError(Exception):
    """Base of every error that jaxcnn raises on purpose."""


class ConfigError(JaxcnnError, ValueError):
    """A setting that is unknown, out of range or in conflict with another."""


class ShapeError(JaxcnnError, ValueError):
    """Arrays whose rank, size or dtype does not fit the operation."""


class MissingKeyError(JaxcnnError, ValueError):
    """A layer needs a random key (`train=True`) and none was given."""


class DataError(JaxcnnError, ValueError):
    """A data file or folder that is missing, unreadable, damaged or inconsistent."""


class DataUnavailableError(DataError):
    """A data set that is in none of the places tried and could not be downloaded."""


class CheckpointError(JaxcnnError, ValueError):
    """A checkpoint that is damaged, incomplete or belongs to another model."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint whose files are not what was written."""


class NumericalError(JaxcnnError, ArithmeticError):
    """A loss or gradient that is NaN or infinite."""


class OutputError(JaxcnnError, OSError):
    """A folder or file that cannot be written."""


class LockedError(OutputError):
    """A run folder that another process writes to."""


def explain(error: BaseException) -> str:
    """Returns the message of `error` followed by its notes, JAX's own on tracebacks left out."""
    notes = [note for note in getattr(error, "__notes__", ()) if "removed its internal" not in note]
    return "\n".join([str(error), *notes])
