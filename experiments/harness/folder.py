"""Experiments on pictures that are streamed from disk, such as ImageNet's.

```
DATA_DIR/
  train/CLASS/NAME.jpg     also .jpeg and .png, of any size and mode
  val/CLASS/NAME.jpg       or validation/, or test/
```

or a data set that tfds has prepared as array_record: DATA_DIR is then the folder with its
`dataset_info.json`, such as `imagenet2012/5.1.0`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import jax

from experiments.harness.config import BaseConfig, Recipe
from experiments.harness.job import Loaded
from experiments.harness.screen import Screen
from jaxcnn.data import ImageFolder, Pictures, PreparedPictures, Stream
from jaxcnn.errors import ConfigError, DataError

_TESTS = ("val", "validation", "test")


@dataclasses.dataclass(frozen=True)
class FolderConfig(BaseConfig):
    """Settings of an experiment on a folder of pictures."""

    size: int = 224
    """Side of the square that the network sees, in pixels."""
    workers: int = 2
    """Processes that read and crop pictures; does not change results."""
    on_corrupt: Literal["fail", "skip"] = "fail"
    """What a picture that cannot be read does: end the run, or be left out, counted and named."""
    most_corrupt: int = 10
    """Different pictures that may be left out before the run ends after all."""


def load(config: FolderConfig, recipe: Recipe, screen: Screen) -> Loaded:
    """Opens the training and the test folder, this process's rows of them.

    Raises:
      ConfigError: no folder was named.
      DataError: a folder is missing, empty, or the two have other classes.
    """
    if config.data_dir is None:
        raise ConfigError(
            "this experiment reads a folder of pictures: pass DATA_DIR=folder to make, or "
            "--data-dir.\nIt must hold train/CLASS/NAME.jpg and val/CLASS/NAME.jpg; "
            "python -m experiments.draw_folder OUT makes one to try."
        )
    train, test = _open(config.data_dir)
    screen.say(
        f"pictures from {config.data_dir}: {len(train):,} to train on, {len(test):,} in "
        f"{test.name.rpartition('/')[2]}, {len(train.classes):,} classes"
    )
    return Loaded(
        stream(config, train, recipe.batch_size, train=True),
        stream(config, test, _whole(config.eval_batch_size), train=False),
    )


def _open(folder: Path) -> tuple[Pictures, Pictures]:
    """Training and test pictures of either layout."""
    prepared = (folder / "dataset_info.json").is_file()

    def part(split: str) -> Pictures:
        if prepared:
            return PreparedPictures.open(folder, split)
        name = f"{folder.resolve().name or 'pictures'}/{split}"
        return ImageFolder.open(folder / split, name=name, classes=classes)

    classes: tuple[str, ...] | None = None
    train = part("train")
    classes = train.classes
    *others, last = _TESTS
    for name in others:
        try:
            return train, part(name)
        except DataError:
            if (folder / name).exists():
                raise
    return train, part(last)


def stream(config: FolderConfig, folder: Pictures, batch_size: int, *, train: bool) -> Stream:
    """A stream with the settings of `config`."""
    return Stream(
        folder,
        size=config.size,
        batch_size=batch_size,
        seed=config.seed,
        train=train,
        workers=config.workers,
        on_corrupt=config.on_corrupt,
        most_corrupt=config.most_corrupt,
        process=jax.process_index(),
        processes=jax.process_count(),
    )


def _whole(rows: int) -> int:
    """Rounded up to rows that divide over all devices; those beyond the set are masked."""
    devices = len(jax.devices())
    return -(-rows // devices) * devices
