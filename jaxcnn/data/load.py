"""Finding a data set by name. Every place that is tried is told to `say`.

In this order: the decoded cache; a prepared tfds folder; IDX files; a download. A folder that
was named by the caller is the only place looked at; one that is damaged is an error, never
a reason to look elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from jaxcnn.data import cache, digests, prepared, tfds
from jaxcnn.data.dataset import Splits
from jaxcnn.data.digits import load_digits
from jaxcnn.data.idx import find_idx, read_idx_array, read_idx_folder
from jaxcnn.data.known import KNOWN, Known
from jaxcnn.data.prepared import Prepared
from jaxcnn.errors import ConfigError, DataError, DataUnavailableError, OutputError

DataName = Literal["auto", "mnist", "digits", "fashion_mnist", "kmnist", "cifar10", "idx"]
"""Names that `load` knows."""
Say = Callable[[str], None]


def load(
    name: DataName,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    say: Say = lambda line: None,
) -> Splits:
    """Reads a data set.

    Args:
      name: "mnist", "fashion_mnist", "kmnist" or "cifar10"; "digits" for the embedded one;
        "idx" for any set in four IDX files named as MNIST's; "auto" for MNIST if it can be
        had, and otherwise the embedded digits, which `say` announces.
      data_dir: folder with prepared tfds data (`data_dir/mnist/3.0.1`) or IDX files. None
        looks in the cache, in `$TFDS_DATA_DIR` and in `~/tensorflow_datasets`.
      download: whether the network may be used if nothing is found.
      say: called with a line for each place tried.

    Returns:
      Training and test examples.

    Raises:
      ConfigError: the name is unknown, or needs a folder that is not given.
      DataUnavailableError: the data set is in none of the places, or cannot be downloaded.
      DataError: a folder is missing or unreadable, or a file is damaged.
    """
    if name not in get_args(DataName):
        raise ConfigError(
            f"data set {name!r} is unknown: use one of {', '.join(get_args(DataName))}."
        )
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and name != "digits":
        _check_folder(folder)
    if name == "digits":
        say("digits: embedded in scikit-learn")
        return load_digits()
    if name == "idx":
        if folder is None:
            raise ConfigError("data set 'idx' needs the folder of its files: pass --data-dir.")
        return _read_any_idx(folder, say)
    if name == "auto":
        try:
            return _load_known(KNOWN["mnist"], folder, download, say)
        except DataUnavailableError as error:
            say(f"mnist: not available ({str(error).splitlines()[0]})")
            say("digits: the embedded digits take its place")
            return load_digits()
    return _load_known(KNOWN[name], folder, download, say)


def _load_known(known: Known, folder: Path | None, download: bool, say: Say) -> Splits:
    if folder is not None:
        splits = _from_folder(known, folder, say)
        if splits is None:
            raise DataError(
                f"{folder}: holds no {known.name}. Expected a prepared tfds data set in "
                f"{folder / known.name}/<version>"
                + (" or the four IDX files in it." if known.idx else ".")
                + "\nCheck the folder, or leave out --data-dir to look in the usual places."
            )
        return splits
    for entry in cache.entries(known.name):
        splits = _from_cache(known, entry, say)
        if splits is not None:
            return splits
    say(f"{known.name}: not in the cache {cache.cache_folder() / 'datasets'}")
    for place in usual_places():
        splits = _from_folder(known, place, say) if os.path.isdir(place) else None
        if splits is not None:
            return splits
        say(f"{known.name}: not in {place}")
    if not (download and known.idx):
        why = "downloading was not asked for" if known.idx else "jaxcnn cannot download it"
        raise DataUnavailableError(
            f"{known.name} is in none of the places tried, and {why}.\n"
            f"Places: {', '.join(map(str, [cache.cache_folder(), *usual_places()]))}.\n"
            "Pass --data-dir with the folder that holds it."
        )
    folder = tfds.download_and_prepare(known.name, usual_places()[0], say)
    return _decode(known, prepared.describe(folder), folder, say)


def usual_places() -> list[Path]:
    """`$TFDS_DATA_DIR`, if set, and tfds' own default folder."""
    chosen = os.environ.get("TFDS_DATA_DIR")
    default = Path("~/tensorflow_datasets").expanduser()
    return [Path(chosen).expanduser(), default] if chosen else [default]


def _from_folder(known: Known, folder: Path, say: Say) -> Splits | None:
    """Reads `known` from a folder, through the cache; None if it is not there."""
    found = find(known, folder)
    return None if found is None else _decode(known, *found, say)


def find(known: Known, folder: Path) -> tuple[Prepared | list[Path], Path] | None:
    """A prepared set or IDX files in a folder, with the folder they are in; None if neither."""
    version = tfds.find_prepared(folder, known.name)
    if version is not None:
        return prepared.describe(version), version
    files = find_idx(folder) if known.idx else None
    return None if files is None else ([path for pair in files.values() for path in pair], folder)


def decode(known: Known, found: Prepared | list[Path], folder: Path) -> Splits:
    """Reads what `find` found.

    Raises:
      DataError: a file is damaged, or the set is not `known`.
    """
    if isinstance(found, Prepared):
        counts = found.train.examples, found.test.examples
        known.check_sizes(folder, counts, found.image_shape, found.classes)
        splits = tfds.read_prepared(found, known.name)
    else:
        splits = read_idx_folder(folder, known.classes, known.name)
    known.check(splits)
    return splits


def _decode(known: Known, found: Prepared | list[Path], folder: Path, say: Say) -> Splits:
    """Reads files that are there, from the cache if they were decoded before."""
    files = found.files if isinstance(found, Prepared) else found
    version = folder.name if isinstance(found, Prepared) else "idx"
    hashed = {path.name: digests.digest_of(path) for path in files}
    if not known.check_files(folder, hashed):
        say(f"{known.name}: not verified: no digest of this form of it is pinned")
    entry = cache.entry_of(known.name, version, hashed)
    if os.path.exists(entry / "manifest.json"):  # `Path.exists` raises in a closed folder
        splits = _from_cache(known, entry, say)
        if splits is not None:
            return splits
    say(f"{known.name}: decoding {folder}")
    splits = decode(known, found, folder)
    try:
        cache.write(entry, splits)
    except OutputError as error:
        say(f"{known.name}: not cached: {str(error).splitlines()[0]}")
    return splits


def _from_cache(known: Known, entry: Path, say: Say) -> Splits | None:
    """Reads a cache entry; a damaged one is said to be and passed over."""
    try:
        splits = cache.read(entry)
        counts = len(splits.train), len(splits.test)
        known.check_sizes(entry, counts, splits.train.image_shape, splits.train.classes)
    except DataError as error:
        say(f"{known.name}: damaged cache entry passed over: {error}")
        return None
    say(f"{known.name}: decoded cache {entry} (from {splits.train.source})")
    return splits


def _read_any_idx(folder: Path, say: Say) -> Splits:
    """An IDX set of the user's own: as many classes as its largest label says."""
    files = find_idx(folder)
    labels = 0 if files is None else int(read_idx_array(files["train"][1], 1).max())
    say(f"idx: reading {folder}")
    classes = tuple(str(label) for label in range(labels + 1))
    return read_idx_folder(folder, classes, f"idx:{folder.name}")


def _check_folder(folder: Path) -> None:
    try:
        with os.scandir(folder):
            os.stat(f"{folder}/.")  # refused where one may list the folder and not enter it
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be used as data folder: {error.strerror}.\n"
            "Check --data-dir (DATA_DIR for make)."
        ) from error
