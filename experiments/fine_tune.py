"""Fine-tuning (decks B and E): features learned on some classes, a new head for the others.

Command:   make train-fine_tune        (settings: python -m experiments.fine_tune --help)
Expected:  no figure in the decks; they advise to train the head alone where data are few. LeNet-5
           learns the first half of the classes, then with few examples of the others: the head
           alone, head and dense layers, all layers, or all from scratch. 3 seeds.
Time:      4 minutes on one CPU core beside other trainings.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import jax
import numpy as np

import jaxcnn
from experiments.harness.choose import mean, percent
from experiments.harness.lab import Figures, Lab, Recipe
from experiments.harness.study import Claim, DataStudyConfig, Findings, Study, main
from jaxcnn import losses, metrics, models, optim, report, train
from jaxcnn.data import Dataset, Scale
from jaxcnn.layer import Layer
from jaxcnn.typing import Params

WAYS: dict[str, tuple[str, ...] | None] = {
    "head only": ("logits",),
    "dense layers": ("dense1", "dense2", "logits"),
    "all layers": ("conv1", "conv2", "dense1", "dense2", "logits"),
    "from scratch": None,
}
"""Which layers are trained on the new classes; None: all, from new initial values."""


@dataclasses.dataclass(frozen=True)
class FineTuneConfig(DataStudyConfig):
    """Fine-tuning."""

    examples: tuple[int, ...] = (1, 2, 5, 10, 50, 200)
    """Labelled examples of each new class."""
    pretrain_epochs: int = 3
    """Passes over the images of the first classes."""
    pretrain_rate: float = 0.05
    """Learning rate there, Nesterov momentum 0.9, cosine."""
    steps: int = 300
    """Steps on the new classes."""
    rate: float = 0.02
    """Learning rate there, momentum 0.9, constant."""
    batch_size: int = 32
    """Images of a step on the new classes, or all if they are fewer."""


def only(dataset: Dataset, classes: range) -> Dataset:
    """The examples of some classes, numbered from 0."""
    rows = np.flatnonzero((dataset.labels >= classes[0]) & (dataset.labels <= classes[-1]))
    part = dataset.take(rows, f"{dataset.name}-{classes[0]}-{classes[-1]}")
    return dataclasses.replace(
        part,
        labels=part.labels - classes[0],
        classes=tuple(dataset.classes[c] for c in classes),
    )


def few_of_each(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` examples of each class, chosen by `seed`."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.permutation(np.flatnonzero(dataset.labels == label))[:count]
        for label in range(len(dataset.classes))
    ]
    return dataset.take(np.sort(np.concatenate(rows)), f"{dataset.name}-{count}-each")


def tune(
    model: Layer,
    start: Params,
    way: str,
    examples: Dataset,
    test: Dataset,
    config: FineTuneConfig,
    seed: int,
) -> float:
    """Accuracy on the new classes after training on few examples of them."""
    paths = WAYS[way]
    optimizer = optim.optimizer("momentum", config.rate)
    key = jax.random.key(seed)
    if paths is not None:
        optimizer = optim.train_only(optimizer, paths)
    fresh, _ = jaxcnn.init(model, key, test.image_shape)
    params = fresh if paths is None else {**start, "logits": fresh["logits"]}
    state = train.init_train_state(model, optimizer, key, test.image_shape)._replace(
        params=params, opt_state=optimizer.init(params)
    )
    size = min(config.batch_size, len(examples))
    per_epoch = -(-len(examples) // size)
    result = train.fit(
        model,
        examples,
        loss=losses.softmax_cross_entropy,
        optimizer=optimizer,
        epochs=-(-config.steps // per_epoch),
        batch_size=size,
        seed=seed,
        prepare=Scale(),
        start=state,
        log_every=1000,
    )
    done = result.train_state
    evaluate = train.make_evaluator(
        train.make_eval_step(model, losses.softmax_cross_entropy, prepare=Scale()), test, 500
    )
    return float(metrics.summarize(evaluate(done.params, done.state))["accuracy"])


def run(config: FineTuneConfig, lab: Lab) -> Findings:
    """Learns the first classes, then the others in each way from each number of examples."""
    splits = lab.splits
    half = len(splits.train.classes) // 2
    old, new = range(half), range(half, len(splits.train.classes))
    padding = max(32 - splits.train.image_shape[0], 0) // 2
    model = models.lenet5(classes=len(old), padding=padding)
    learner = models.lenet5(classes=len(new), padding=padding)
    pool, test = only(splits.train, new), only(splits.test, new)
    recipe = Recipe("nesterov", config.pretrain_rate, config.pretrain_epochs, schedule="cosine")
    features: dict[int, Params] = {}  # made when first needed: all may be known already

    def accuracy(way: str, count: int, seed: int) -> float:
        def make() -> Figures:
            if WAYS[way] is not None and seed not in features:
                features[seed] = lab.fit(model, only(splits.train, old), recipe, seed=seed).params
            few = few_of_each(pool, count, seed)
            start = features.get(seed, {})
            return {"accuracy": tune(learner, start, way, few, test, config, seed)}

        title = f"{way}, {count} of each, seed {seed}"
        return float(lab.once(title, make)["accuracy"])

    found = {
        way: {
            count: [accuracy(way, count, seed) for seed in range(config.seeds)]
            for count in config.examples
        }
        for way in WAYS
    }
    rows: list[dict[str, Any]] = [
        {"examples of each class": count, **{way: percent(found[way][count]) for way in WAYS}}
        for count in config.examples
    ]
    least, most = config.examples[0], config.examples[-1]

    def best(count: int) -> str:
        return max(WAYS, key=lambda way: mean(found[way][count]))

    answer = (
        f"With {least} example of each new class it is best to train '{best(least)}' "
        f"({percent(found[best(least)][least])}; from scratch "
        f"{percent(found['from scratch'][least])}), with {most} '{best(most)}' "
        f"({percent(found[best(most)][most])}; from scratch "
        f"{percent(found['from scratch'][most])})."
    )
    gains = {
        c: mean(found["all layers"][c]) - mean(found["from scratch"][c])
        for c in found["all layers"]
    }
    claim = Claim(
        "features learned on other classes help where examples are few",
        f"above training from scratch with up to {config.examples[len(config.examples) // 2 - 1]}",
        ", ".join(f"{c}: {100 * g:+.1f}" for c, g in gains.items()) + " points",
        all(gains[c] > 0 for c in config.examples[: len(config.examples) // 2]),
    )
    series = {
        way: ([float(c) for c in by], [100 * (1 - mean(v)) for v in by.values()])
        for way, by in found.items()
    }
    figure = report.curves(
        series,
        x_label="examples of each new class",
        y_label="test error on them in %",
        log_x=True,
        log_y=True,
    )
    return Findings(
        answer,
        rows,
        [claim],
        [("curves", "Test error against labelled examples", figure)],
        {way: {str(c): v for c, v in by.items()} for way, by in found.items()},
    )


STUDY = Study("fine_tune", FineTuneConfig, "fine-tuning with few examples", run)

if __name__ == "__main__":
    sys.exit(main(STUDY))
