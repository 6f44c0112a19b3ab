"""Looking inside a trained network: `make look RUN=runs/lenet/...`.

Restores the newest checkpoint of a run, and adds pictures to its folder and `report.html`: which
pixels speak for a class, what units look for, how the network is fooled, which images it takes
for similar, and what moving an image changes. The functions are in `jaxcnn.inspect`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

import jaxcnn
from experiments.harness.config import BaseConfig, from_json
from experiments.harness.find import find_experiment
from experiments.harness.job import Job, prepare
from experiments.harness.resume import restore_newest
from experiments.harness.runner import EXIT_FAILED, EXIT_MET
from experiments.harness.screen import Screen
from jaxcnn import inspect, nn, report, storage
from jaxcnn.compilation import use_compile_cache
from jaxcnn.data import Dataset
from jaxcnn.errors import ConfigError, DataError, JaxcnnError, explain
from jaxcnn.run import RunFolder
from jaxcnn.typing import Array, Params, State
from jaxcnn.untrusted import read_text


@dataclasses.dataclass(frozen=True)
class Settings:
    """Looks inside the network of a run."""

    run: tyro.conf.Positional[Path]
    """Run folder."""
    data_dir: Path | None = None
    """Folder with the data; None: where the run found it."""
    images: int = 8
    """Test images that are shown."""
    examples: int = 1000
    """Test images over which figures are measured."""
    epsilons: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
    """Largest changes of a pixel that try to fool the network, in units of its range."""
    seed: int = 0
    """Decides the noise that activation maximization starts from."""


class Trained(NamedTuple):
    """A network and what is shown to it."""

    job: Job
    test: Dataset
    params: Params
    state: State
    images: Array  # [N, H, W, C], as the network sees them
    labels: Array  # [N]
    shown: Any  # [n, H, W, C] uint8, as stored

    @property
    def network(self) -> tuple[Any, Params, State]:
        return self.job.model, self.params, self.state


def look(trained: Trained, settings: Settings) -> list[tuple[str, str, Figure]]:
    """The pictures: (file name, caption, figure) of each."""
    return [
        _attribution(trained, settings),
        _ranking(trained, settings),
        *_units(trained, settings),
        _fooled(trained, settings),
        _similar(trained, settings),
        _moved(trained, settings),
    ]


def _attribution(trained: Trained, settings: Settings) -> tuple[str, str, Figure]:
    images, labels = trained.images[: settings.images], trained.labels[: settings.images]
    height = images.shape[1]
    window = max(w for w in range(1, height // 4 + 1) if height % w == 0)
    layer = _last_map(trained)
    covered = inspect.occlusion(*trained.network, images, labels, window=window)
    figure = report.image_rows(
        {
            "image": list(trained.shown),
            "saliency": list(np.asarray(inspect.saliency(*trained.network, images, labels))),
            f"Grad-CAM\n{layer}": list(
                np.asarray(inspect.grad_cam(*trained.network, images, labels, layer))
            ),
            f"occlusion\n{window}x{window}": list(np.asarray(covered)),
        },
        [trained.test.classes[i] for i in np.asarray(labels)],
    )
    return "attribution", "Which pixels speak for the true class", figure


def _ranking(trained: Trained, settings: Settings) -> tuple[str, str, Figure]:
    logits = _outputs(trained)
    classes = trained.test.classes
    wrong = np.flatnonzero(np.asarray(logits.argmax(-1)) != np.asarray(trained.labels))
    rest = np.setdiff1d(np.arange(len(trained.labels)), wrong)
    chosen = np.concatenate([wrong, rest])[: settings.images]
    order, chances = inspect.top_k(logits[chosen], min(5, len(classes)))
    figure = report.ranked_bars(
        list(trained.test.images[chosen]),
        [[classes[i] for i in row] for row in np.asarray(order)],
        np.asarray(chances),
        [classes[i] for i in np.asarray(trained.labels)[chosen]],
    )
    return "top5", "The five most likely classes, errors first; the true class is dark", figure


def _units(trained: Trained, settings: Settings) -> list[tuple[str, str, Figure]]:
    """What channels and classes look for: by ascent, and by projection of real activations."""
    key, shape = jax.random.key(settings.seed), trained.images.shape[1:]
    rows = {}
    for layer, count in (*_conv_channels(trained), (None, len(trained.test.classes))):
        found = [
            inspect.maximize_activation(
                *trained.network,
                jax.random.fold_in(key, channel),
                shape,
                layer=layer,
                channel=channel,
            ).image
            for channel in range(min(count, settings.images))
        ]
        rows[layer or "classes"] = [np.asarray(image) for image in found]
    pictures = [("units", "Images that excite a channel or class most", report.image_rows(rows))]
    projected = {"image": list(trained.shown)}
    for layer, count in _conv_channels(trained):
        try:
            for channel in range(min(count, 3)):
                maps = inspect.deconvolve(
                    *trained.network, trained.images[: settings.images], layer, channel
                )
                projected[f"{layer}:{channel}"] = list(np.asarray(maps))
        except ConfigError:  # this network has layers without a projection: no such picture
            break
    if len(projected) > 1:
        caption = "Deconvolution: the strongest activation of a channel, back at the pixels"
        pictures.append(("deconvolution", caption, report.image_rows(projected)))
    return pictures


def _fooled(trained: Trained, settings: Settings) -> tuple[str, str, Figure]:
    low, high = float(trained.images.min()), float(trained.images.max())
    table = inspect.accuracy_against_epsilon(
        *trained.network,
        trained.images,
        trained.labels,
        [epsilon * (high - low) for epsilon in settings.epsilons],
        trained.job.loss,
        low=low,
        high=high,
    )
    figure = report.lines(
        settings.epsilons,
        {"accuracy": [row.accuracy for row in table]},
        x_label="largest change of a pixel, in units of the range",
        y_label=f"accuracy of {table[0].total:,} images",
    )
    return "adversarial", "Accuracy under the fast gradient sign attack", figure


def _similar(trained: Trained, settings: Settings) -> tuple[str, str, Figure]:
    hidden = jnp.asarray(inspect.last_hidden(*trained.network, trained.images))
    index, _ = inspect.nearest_neighbours(hidden[: settings.images], hidden, 7)
    images, classes = trained.test.images, trained.test.classes
    rows = {
        f"{number}: {classes[int(trained.labels[number - 1])]}": [images[i] for i in found]
        for number, found in enumerate(np.asarray(index), start=1)
    }
    caption = "Nearest neighbours in the last hidden layer, the image itself first"
    return "neighbours", caption, report.image_rows(rows)


def _moved(trained: Trained, settings: Settings) -> tuple[str, str, Figure]:
    del settings  # nothing to set
    shifts = list(range(-6, 7, 2))
    fill = float(trained.images.min())
    table = inspect.translation_response(
        *trained.network, trained.images, [(0, shift) for shift in shifts], fill=fill
    )
    figure = report.lines(
        shifts,
        {
            "same class": [row.unchanged for row in table],
            "relative distance of features": [row.distance for row in table],
        },
        x_label="pixels to the right",
        y_label="share, or distance",
    )
    return "translation", "What moving the image changes", figure


def _outputs(trained: Trained) -> Array:
    model, params, state = trained.network
    run = jax.jit(lambda images: jaxcnn.apply(model, params, state, images)[0])
    return run(trained.images)


def _rows(trained: Trained) -> list[Any]:
    return list(jaxcnn.ledger(trained.job.model, trained.images.shape[1:]).rows)


def _conv_channels(trained: Trained) -> list[tuple[str, int]]:
    """The first two convolutions, by path, and how many channels each has."""
    found = [
        (row.path, row.output[-1])
        for row in _rows(trained)
        if isinstance(row.layer, nn.Conv) and len(row.output) == 3
    ]
    return found[:2]


def _last_map(trained: Trained) -> str:
    """The last layer that still has a map: where Grad-CAM looks."""
    paths = [row.path for row in _rows(trained) if len(row.output) == 3 and row.output[0] > 1]
    return str(paths[-1])


def load(settings: Settings, screen: Screen) -> Trained:
    """Restores the network of a run and prepares its test images.

    Raises:
      ConfigError: the folder is not a run's, or its experiment does not exist any more.
    """
    run = RunFolder(settings.run)
    name = settings.run.resolve().parent.name
    try:
        experiment = find_experiment(name)
    except ConfigError as error:
        raise ConfigError(
            f"{settings.run}: is no run folder of an experiment: expected runs/NAME/TIME-SEED."
        ) from error
    config: BaseConfig = from_json(experiment.config, run.config)
    if settings.data_dir is not None:
        config = dataclasses.replace(config, data_dir=settings.data_dir)
    config, _, job = prepare(experiment, config, screen)
    state = restore_newest(run, job, config, screen)[0].train_state
    test = job.shown()
    stored = test.images[: settings.examples]
    seen = jax.jit(job.prepare)(stored)
    labels = jnp.asarray(test.labels[: settings.examples])
    return Trained(job, test, state.params, state.state, seen, labels, stored[: settings.images])


def main(arguments: list[str] | None = None) -> int:
    """Writes pictures and page; returns the exit status."""
    settings = tyro.cli(Settings, prog="python -m experiments.look", args=arguments)
    screen = Screen()
    use_compile_cache()
    try:
        trained = load(settings, screen)
        made = [
            (f"look-{name}.png", caption, report.png(figure))
            for name, caption, figure in look(trained, settings)
        ]
        for file, _, content in made:
            storage.write_bytes(settings.run / file, content)
        page = settings.run / "report.html"
        text = read_text(page, error=DataError)
        added = report.add_pictures(text, [(caption, content) for _, caption, content in made])
        storage.write_bytes(page, added.encode())
    except JaxcnnError as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
    screen.say(f"pictures: {', '.join(str(settings.run / file) for file, _, _ in made)}")
    screen.say(f"report: {page}")
    return EXIT_MET


if __name__ == "__main__":
    sys.exit(main())
