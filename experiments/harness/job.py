"""What an experiment is, and everything its training needs, made from a config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol

from experiments.harness.config import BaseConfig, C, Config, Recipe, resolve
from experiments.harness.screen import Screen
from jaxcnn import data, losses, optim
from jaxcnn.data import Dataset, Stream
from jaxcnn.data.batches import Augment
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer
from jaxcnn.train import Monitored, ReduceOnPlateau, RetryOnDivergence, StepBack
from jaxcnn.train.precision import Precision, Prepare


def shifted(config: BaseConfig, recipe: Recipe) -> Augment | None:
    """The augmentation of experiments that say nothing else: the recipe's shift."""
    del config
    return data.Shift(recipe.shift) if recipe.shift else None


@dataclasses.dataclass(frozen=True)
class Experiment(Generic[C]):
    """What sets one experiment apart.

    Attributes:
      name: of its module, its `make train-NAME` target and its folder of runs.
      config: the class of its settings.
      title: one line that says what is trained, from the settings.
      model: the network, from settings, image shape and number of classes.
      recipes: by data set; "" for the others.
      first_layer: layer whose kernels are drawn.
      maps: layers whose feature maps are drawn.
      load: finds the data, for experiments whose data sets have no name.
      augment: what training images go through, from settings and recipe.
    """

    name: str
    config: type[C]
    title: Callable[[C], str]
    model: Callable[[C, tuple[int, int, int], int], Layer]
    recipes: Mapping[str, Recipe]
    first_layer: str
    maps: Sequence[str]
    load: Callable[[C, Recipe, Screen], Loaded] | None = None
    augment: Callable[[C, Recipe], Augment | None] = shifted


class Loaded(NamedTuple):
    """Training and test examples, in memory or streamed."""

    train: Dataset | Stream
    test: Dataset | Stream


class Job(NamedTuple):
    """What is trained, on what, and how."""

    model: Layer
    train: Dataset | Stream
    held_out: dict[str, Dataset | Stream]
    test: Dataset | Stream
    steps_per_epoch: int
    optimizer: Any
    loss: Callable[..., Any]
    prepare: Prepare
    precision: Precision
    augment: Augment | None
    policies: dict[str, Monitored]

    def shown(self) -> Dataset:
        """Test examples in memory, for pictures: all, or some of a stream."""
        return self.test.sample(_SHOWN) if isinstance(self.test, Stream) else self.test

    def close(self) -> None:
        """Ends the workers of streams."""
        for source in (self.train, self.test):
            if isinstance(source, Stream):
                source.close()


def prepare(experiment: Experiment[C], config: C, screen: Screen) -> tuple[C, Recipe, Job]:
    """Finds the data and makes network, optimizer and the rest from it."""
    if experiment.load is None:
        assert isinstance(config, Config)  # noqa: S101  (for the type checker)
        splits = load_by_name(experiment.name, config, screen)
        loaded = Loaded(splits.train, splits.test)
        name = loaded.train.name.partition("/")[0]
        config, recipe = resolve(config, experiment.recipes.get(name, experiment.recipes[""]))
    else:
        config, recipe = resolve(config, experiment.recipes[""])
        loaded = experiment.load(config, recipe, screen)
    train, held_out = loaded.train, {}
    if isinstance(train, Stream):
        held_out["validation"] = loaded.test  # for the curves; no epoch is chosen by them
        sample = train.sample(_FITTED)
    else:
        if recipe.validation:
            train, held_out["validation"] = train.hold_out(recipe.validation, config.seed)
        sample = train
    per_epoch = data.steps_per_epoch(len(train), recipe.batch_size)
    epoch = 1 if config.unit == "epochs" else per_epoch
    total = recipe.epochs * epoch
    rate = optim.schedule(
        config.schedule,
        _scaled_rate(config, recipe, screen),
        total=total,
        warmup=min(epoch, total / 10) if config.warmup is None else config.warmup,
        every=config.every,
        factor=config.factor,
        unit=config.unit,
        steps_per_epoch=per_epoch,
    )
    settings = {
        name: getattr(config, name)
        for name in ("momentum", "decay", "beta1", "beta2", "epsilon")
        if getattr(config, name) is not None
    }
    job = Job(
        model=experiment.model(config, train.image_shape, len(train.classes)),
        train=train,
        held_out=held_out,
        test=loaded.test,
        steps_per_epoch=per_epoch,
        optimizer=optim.optimizer(
            config.optimizer,
            rate,
            weight_decay=recipe.weight_decay,
            clip_norm=config.clip_norm,
            **settings,
        ),
        loss=partial(losses.softmax_cross_entropy, label_smoothing=config.label_smoothing),
        prepare=_PREPARE[config.preprocess](sample),
        precision=Precision(compute=config.precision),
        augment=experiment.augment(config, recipe),
        policies=_policies(config, recipe),
    )
    return config, recipe, job


class Named(Protocol):
    """Settings that name a data set."""

    @property
    def data(self) -> data.DataName: ...
    @property
    def data_dir(self) -> Path | None: ...
    @property
    def download(self) -> bool: ...


def load_by_name(experiment: str, config: Named, screen: Screen) -> data.Splits:
    """The data set that --data names."""
    splits = data.load(
        config.data, data_dir=config.data_dir, download=config.download, say=screen.say
    )
    if config.data == "auto" and splits.train.name.partition("/")[0] != "mnist":
        screen.box(
            "MNIST was not found",
            f"Training on {splits.train.source} instead\n"
            f"({len(splits.train):,} training and {len(splits.test):,} test images).\n"
            "For MNIST: DATA_DIR=folder make train-" + experiment,
        )
    return splits


_SHOWN = 200  # pictures of a streamed test set
_FITTED = 512  # pictures of a stream that means and deviations are fitted on


def _scaled_rate(config: BaseConfig, recipe: Recipe, screen: Screen) -> float:
    """The learning rate, for another batch size where --rate-rule asks for that; never silently."""
    if config.reference_batch is None:
        return recipe.rate
    rate = optim.scale_rate(
        recipe.rate, recipe.batch_size, config.reference_batch, config.rate_rule
    )
    screen.say(
        f"learning rate {rate:g}: {recipe.rate:g} for {config.reference_batch} images a step, "
        f"scaled to {recipe.batch_size} by the {config.rate_rule} rule"
    )
    return rate


_PREPARE: dict[str, Callable[[Dataset], Prepare]] = {
    "scale": lambda train: data.Scale(),
    "mean-image": data.fit_mean_image,
    "channel-mean": data.fit_channel_mean,
    "standardize": data.fit_mean_deviation,
}


def _policies(config: BaseConfig, recipe: Recipe) -> dict[str, Monitored]:
    """What the config asks to be done when training stalls or diverges."""
    policies = {}
    if config.plateau != "none":
        if not recipe.validation:
            raise ConfigError(
                f"--plateau {config.plateau} watches the validation loss, but no examples are "
                "held out.\nPass --validation with their number."
            )
        kind = ReduceOnPlateau if config.plateau == "reduce" else StepBack
        policy = kind(factor=config.plateau_factor, patience=config.plateau_patience)
        policies["plateau"] = Monitored(policy, "validation", "loss")
    if config.retries:
        policies["divergence"] = Monitored(RetryOnDivergence(most=config.retries), "train", "loss")
    return policies
