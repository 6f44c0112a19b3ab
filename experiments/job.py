"""What an experiment is, and everything its training needs, made from a config."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple

from experiments.config import C, Config, Recipe, resolve
from experiments.screen import Screen
from jaxcnn import data, losses, optim
from jaxcnn.data import Dataset
from jaxcnn.errors import ConfigError
from jaxcnn.layer import Layer
from jaxcnn.train import Monitored, ReduceOnPlateau, RetryOnDivergence, StepBack
from jaxcnn.train.precision import Precision, Prepare


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
    """

    name: str
    config: type[C]
    title: Callable[[C], str]
    model: Callable[[C, tuple[int, int, int], int], Layer]
    recipes: Mapping[str, Recipe]
    first_layer: str
    maps: Sequence[str]


class Job(NamedTuple):
    """What is trained, on what, and how."""

    model: Layer
    train: Dataset
    held_out: dict[str, Dataset]
    test: Dataset
    steps_per_epoch: int
    optimizer: Any
    loss: Callable[..., Any]
    prepare: Prepare
    precision: Precision
    augment: data.Shift | None
    policies: dict[str, Monitored]


def prepare(experiment: Experiment[C], config: C, screen: Screen) -> tuple[C, Recipe, Job]:
    """Finds the data and makes network, optimizer and the rest from it."""
    splits = data.load(
        config.data, data_dir=config.data_dir, download=config.download, say=screen.say
    )
    name = splits.train.name.partition("/")[0]
    if config.data == "auto" and name != "mnist":
        screen.box(
            "MNIST was not found",
            f"Training on {splits.train.source} instead\n"
            f"({len(splits.train):,} training and {len(splits.test):,} test images).\n"
            "For MNIST: DATA_DIR=folder make train-" + experiment.name,
        )
    config, recipe = resolve(config, experiment.recipes.get(name, experiment.recipes[""]))
    held_out = {}
    train = splits.train
    if recipe.validation:
        train, held_out["validation"] = train.hold_out(recipe.validation, config.seed)
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
        test=splits.test,
        steps_per_epoch=per_epoch,
        optimizer=optim.optimizer(
            config.optimizer,
            rate,
            weight_decay=recipe.weight_decay,
            clip_norm=config.clip_norm,
            **settings,
        ),
        loss=partial(losses.softmax_cross_entropy, label_smoothing=config.label_smoothing),
        prepare=_PREPARE[config.preprocess](train),
        precision=Precision(compute=config.precision),
        augment=data.Shift(recipe.shift) if recipe.shift else None,
        policies=_policies(config, recipe),
    )
    return config, recipe, job


def _scaled_rate(config: Config, recipe: Recipe, screen: Screen) -> float:
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


def _policies(config: Config, recipe: Recipe) -> dict[str, Monitored]:
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
