"""The settings of an experiment: every number that affects its result is a field here."""

from __future__ import annotations

import dataclasses
import difflib
import types
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from jaxcnn.data import DataName
from jaxcnn.errors import ConfigError
from jaxcnn.optim import OptimizerName, RateRule, ScheduleName, Unit
from jaxcnn.parallel import Parallel
from jaxcnn.train import OnNonfinite
from jaxcnn.untrusted import read_json

Preprocess: TypeAlias = Literal["scale", "mean-image", "channel-mean", "standardize"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a data set asks for: the values of the fields that are None in a config."""

    epochs: int
    batch_size: int
    rate: float
    weight_decay: float
    shift: int
    validation: int
    expected: float | None


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """Settings that all experiments share."""

    data_dir: Path | None = None
    """Folder with the data. None: the cache, $TFDS_DATA_DIR and ~/tensorflow_datasets, where
    prepared data sets are looked for."""

    epochs: int | None = None
    """Passes over the training data. None: the data set's recipe."""
    batch_size: int | None = None
    """Images of a training step. None: the data set's recipe."""
    optimizer: OptimizerName = "nesterov"
    """How gradients become updates."""
    rate: float | None = None
    """Largest learning rate. None: the data set's recipe."""
    rate_rule: RateRule = "none"
    """What a batch of another size does to the rate, which is then for --reference-batch images:
    linear multiplies it by the ratio of the sizes, sqrt by its root."""
    reference_batch: int | None = None
    """For --rate-rule: images of a step for which the rate is meant."""
    momentum: float | None = None
    """For momentum and nesterov. None: 0.9."""
    decay: float | None = None
    """For rmsprop: fraction of the squared-gradient average that is kept. None: 0.9."""
    beta1: float | None = None
    """For adam and adamw. None: 0.9."""
    beta2: float | None = None
    """For adam and adamw. None: 0.999."""
    epsilon: float | None = None
    """For adagrad, rmsprop, adam, adamw (None: 1e-8) and lamb (None: 1e-6)."""
    weight_decay: float | None = None
    """L2 factor on kernels, never on biases (decoupled with adamw). None: the recipe."""
    clip_norm: float | None = None
    """Largest global norm of the gradient. None: no clipping."""
    schedule: ScheduleName = "cosine"
    """How the learning rate changes."""
    warmup: float | None = None
    """Length of the linear warm-up, in --unit. None: an epoch, at most a tenth of the training."""
    every: float | None = None
    """For step and exponential: length between decays, in --unit. None: a third of all."""
    factor: float = 0.1
    """For step and exponential: factor of one decay."""
    unit: Unit = "epochs"
    """Unit of --warmup and --every."""
    plateau: Literal["none", "reduce", "step-back"] = "none"
    """When the validation loss stops improving: lower the rate; or lower it and go back to the
    best epoch."""
    plateau_factor: float = 0.5
    """Factor of the rate at each such time."""
    plateau_patience: int = 1
    """Epochs without improvement that count as a stop."""
    retries: int = 0
    """When the training loss diverges: go back and try again at a tenth of the rate, this many
    times at most."""
    on_nonfinite: OnNonfinite = "stop"
    """What to do about a step that is not finite: stop, skip its batch, or roll back to the last
    good interval at a tenth of the rate. See docs/faults.md."""
    nonfinite_limit: int = 3
    """How often that is done before the training stops after all."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the labels."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in. bfloat16: products of bfloat16 numbers that add up in float32;
    parameters, statistics, loss and update stay float32."""
    preprocess: Preprocess = "scale"
    """From stored pixels to input: pixels / 255; less the mean image (AlexNet), or each channel's
    mean (VGG); or that over each channel's deviation (ResNet). Fitted on the training images."""
    shift: int | None = None
    """Augmentation: training images are moved by up to this many pixels. None: the recipe."""

    validation: int | None = None
    """Training examples held out to draw the validation curve. None: the recipe."""
    eval_batch_size: int = 500
    """Images at a time in evaluation; does not change results."""
    log_every: int = 50
    """Steps between lines of the metrics log."""
    parallel: Parallel = "auto"
    """How a step runs on many devices, --batch-size being that of all together: auto is jit."""
    accumulate: int = 1
    """Parts that the rows of a step are computed in, one after another, to save memory."""
    steps_per_call: int | None = None
    """Steps that one call of the compiled program makes; does not change results. None: as many
    as take a second, or up to four long ones. Ctrl-C waits for the call under way."""
    max_minutes: float | None = None
    """Time limit: then the run saves, says how to go on, and ends with status 124."""
    join_timeout: float = 120
    """In several processes: seconds until all of them must have come."""
    heartbeat: int = 30
    """In several processes: seconds of silence after which one counts as dead, and all end."""
    deterministic: bool = False
    """Runs repeat to the bit on a GPU too, where that costs time; a CPU's do anyway. Ends with an
    error if an operation has no such way."""
    keep: int = 2
    """Newest checkpoints kept; one is saved after each epoch."""
    keep_best: bool = True
    """Whether the one with the lowest validation loss is kept as well, where --validation is
    not 0."""
    save_minutes: float | None = 10.0
    """A checkpoint is also saved once the last is so old, so that a long epoch loses no more when
    the process is killed. None: after each epoch only."""
    expected: float | None = None
    """Test accuracy that must be reached for exit status 0. None: the recipe's, if any."""

    seed: int = 0
    """Decides initial values, order, augmentation and dropout."""
    out: Path = Path("runs")
    """Folder below which the run folder is made."""
    resume: Path | None = None
    """Run folder to go on with; its own settings are used. "auto": the newest run below --out
    with the very settings given, complete or not; a new run if there is none."""
    like: Path | None = None
    """Run folder whose settings are the defaults of this new run."""


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    """Settings of an experiment on a data set that is known by name."""

    data: DataName = "auto"
    """Data set. "auto" is MNIST, or the embedded digits where MNIST cannot be had; "idx" is
    any set in four IDX files named as MNIST's, in --data-dir."""
    download: bool = True
    """Whether a data set that is nowhere may be downloaded."""


C = TypeVar("C", bound=BaseConfig)

_UNCHECKED = {
    "data_dir",
    "download",
    "out",
    "resume",
    "like",
    "keep",
    "keep_best",
    "save_minutes",
    "max_minutes",
    "steps_per_call",
    "workers",
    "join_timeout",
    "heartbeat",
}  # may change on resuming

_RETIRED = {"keep_memory"}
"""Settings of former versions that changed no result: runs that have them go on."""


def resolve(config: C, recipe: Recipe) -> tuple[C, Recipe]:
    """Lets the config override the data set's recipe; returns both with all values filled in."""
    asked = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(recipe)
        if getattr(config, field.name) is not None
    }
    recipe = dataclasses.replace(recipe, **asked)
    return dataclasses.replace(config, **dataclasses.asdict(recipe)), recipe


def check(config: BaseConfig) -> None:
    """Raises `ConfigError` for numbers that are out of range before anything is loaded."""
    counts = ("epochs", "batch_size", "eval_batch_size", "log_every", "keep", "steps_per_call")
    for name in (*counts, "accumulate", "reference_batch", "nonfinite_limit"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected 1 or more.")
    if (config.rate_rule == "none") != (config.reference_batch is None):
        raise ConfigError(
            f"--rate-rule {config.rate_rule} with --reference-batch {config.reference_batch}: give "
            "both or neither.\nThe rule scales the rate from that batch size to --batch-size."
        )
    for name in ("shift", "validation", "seed", "retries"):
        value = getattr(config, name)
        if value is not None and value < 0:
            raise ConfigError(f"--{name} {value}: expected 0 or more.")
    for name in ("max_minutes", "save_minutes"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected more than 0.")
    if not 0 <= config.label_smoothing < 1:
        raise ConfigError(f"--label-smoothing {config.label_smoothing}: expected 0 .. 1, below 1.")
    if config.expected is not None and not 0 <= config.expected <= 1:
        raise ConfigError(f"--expected {config.expected}: expected a fraction in 0 .. 1.")


def to_json(config: BaseConfig) -> dict[str, Any]:
    """The config as JSON values."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
    }


def from_json(kind: type[C], file: Path) -> C:
    """Reads back what `to_json` gave.

    Raises:
      ConfigError: the file is missing, damaged, or of another experiment; or a value is of
        another type than its field, or out of range.
    """
    try:
        values = read_json(file, error=ConfigError)
    except ConfigError as error:
        raise ConfigError(f"{file}: no usable config: {error}") from error
    values = {name: value for name, value in values.items() if name not in _RETIRED}
    expected = _field_types(kind)
    for name in [*(values.keys() - expected.keys()), *(expected.keys() - values.keys())]:
        near = difflib.get_close_matches(name, expected.keys() - values.keys(), n=1)
        raise ConfigError(
            f"{file}: its fields are not those of this experiment: {name[:80]!r} is "
            + (
                f"unknown{f', {near[0]} is missing' if near else ''}."
                if name in values
                else "missing."
            )
        )
    made = {name: _typed(value, expected[name]) for name, value in values.items()}
    for name, value in made.items():
        if value is _WRONG:
            raise ConfigError(
                f"{file}: {name} is {str(values[name])[:80]!r}, expected {expected[name]}."
            )
    config = kind(**made)
    try:
        check(config)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    return config


_WRONG = object()


_TYPES: dict[type[BaseConfig], dict[str, Any]] = {}


def _field_types(kind: type[BaseConfig]) -> dict[str, Any]:
    """Annotations evaluated once for each class: they are code, though not of the file's."""
    if kind not in _TYPES:
        _TYPES[kind] = get_type_hints(kind)
    return _TYPES[kind]


def _typed(value: Any, annotation: Any) -> Any:
    """A JSON value as the annotation wants it, or `_WRONG`."""
    if get_origin(annotation) is Literal:
        return value if isinstance(value, str) and value in get_args(annotation) else _WRONG
    if get_origin(annotation) is types.UnionType:
        fitting = (_typed(value, choice) for choice in get_args(annotation))
        return next((found for found in fitting if found is not _WRONG), _WRONG)
    if annotation is Path:
        return Path(value) if isinstance(value, str) and value and "\0" not in value else _WRONG
    if annotation is float and type(value) is int:
        return value
    return value if type(value) is annotation else _WRONG


def fixed(config: BaseConfig) -> dict[str, Any]:
    """The settings, as JSON values, that may not change while a run is under way."""
    return {name: value for name, value in to_json(config).items() if name not in _UNCHECKED}


def changed(asked: BaseConfig, recorded: BaseConfig) -> list[str]:
    """Names of fields in which `asked` departs from `recorded` and would change the result."""
    return [
        field.name
        for field in dataclasses.fields(recorded)
        if field.name not in _UNCHECKED
        and getattr(asked, field.name) != getattr(recorded, field.name)
    ]
