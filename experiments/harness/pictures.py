"""The pictures of a finished run, made from its network, log and test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxcnn
from jaxcnn import metrics, report
from jaxcnn.data import Dataset
from jaxcnn.layer import Layer
from jaxcnn.train import predict
from jaxcnn.train.precision import Prepare
from jaxcnn.typing import Array, Params, State

_GRID = 40  # images in a grid of predictions


def draw(
    model: Layer,
    params: Params,
    state: State,
    *,
    test: Dataset,
    prepare: Prepare,
    history: Sequence[Mapping[str, Any]],
    first_layer: str,
    maps: Sequence[str],
) -> list[tuple[str, str, bytes]]:
    """Makes the pictures: (file name, caption, PNG content) of each.

    Args:
      model, params, state: the trained network.
      test: the test set.
      prepare: as in training.
      history: lines of the metrics log.
      first_layer: name of the layer whose kernels are shown.
      maps: paths of the layers whose feature maps are shown.
    """
    logits = predict(model, params, state, test, prepare=prepare)
    guess = logits.argmax(-1)
    wrong = np.flatnonzero(guess != test.labels)
    chance = np.asarray(jax.jit(jax.nn.softmax)(logits))
    surest = wrong[np.argsort(-chance[wrong, guess[wrong]], kind="stable")]
    count = jax.jit(metrics.confusion_matrix, static_argnums=2)  # one program to compile
    matrix = count(guess, test.labels, len(test.classes), np.ones(len(test), bool))

    def grid(index: np.ndarray, title: str) -> Figure:
        return report.predictions(
            test.images[index],
            [test.classes[i] for i in test.labels[index]],
            [test.classes[i] for i in guess[index]],
            title=title,
        )

    image = test.images[:1]

    @jax.jit
    def every_map(params: Params, state: State, image: Array) -> dict[str, Array]:
        return jaxcnn.features(model, params, state, prepare(image))

    found = every_map(params, state, image)
    shown = {path: np.asarray(found[path][0]) for path in maps}
    kernel = _as_images(np.asarray(params[first_layer]["kernel"]), image.shape[1:])
    figures = [
        ("curves", "Training curves", report.training_curves(history)),
        ("confusion", "Confusion matrix", report.confusion(np.asarray(matrix), test.classes)),
        (
            "predictions",
            'First test images, "true:predicted"',
            grid(np.arange(min(_GRID, len(test))), 'first test images, "true:predicted"'),
        ),
        (
            "filters",
            "First-layer filters",
            report.filters(kernel, title=f"filters of {first_layer}"),
        ),
    ]
    if shown:
        figures.append(("maps", "Feature maps", report.feature_maps(image[0], shown)))
    if len(surest):
        title = f'surest of the {len(wrong)} errors, "true:predicted"'
        figures.insert(3, ("errors", "Surest errors", grid(surest[:_GRID], title)))
    return [(f"{name}.png", caption, report.png(figure)) for name, caption, figure in figures]


def _as_images(kernel: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Kernels [h, w, C, O]; those of a dense layer on pixels are whole images, the first few."""
    if kernel.ndim == 4:
        return kernel
    return kernel[:, :_GRID].reshape(*image_shape, -1)
