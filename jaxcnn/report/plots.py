"""Pictures of a training, as matplotlib figures. Nothing here computes: arrays come in.

No global state (`pyplot`) is touched, so these work in a notebook, a thread or a test.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

TRAIN_COLOR, HELD_OUT_COLOR, WRONG_COLOR = "#4878a8", "#c8682c", "#b00020"


def training_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, accuracy and learning rate against epochs, from the lines of a metrics log."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    train = [line for line in history if line["kind"] == "train"]
    splits = list(dict.fromkeys(line["split"] for line in history if line["kind"] == "eval"))
    epochs = [line["epoch"] for line in train]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        values = [line[name] for line in train]
        axes.plot(epochs, values, color=TRAIN_COLOR, linewidth=1, alpha=0.8, label="training")
        for split in splits:
            held = [line for line in history if line["kind"] == "eval" and line["split"] == split]
            axes.plot(
                [line["epoch"] for line in held],
                [line[name] for line in held],
                "o-",
                color=HELD_OUT_COLOR,
                markersize=4,
                label=split,
            )
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
    loss.set_yscale("log")
    floor = min([line["accuracy"] for line in history if line.get("epoch", 0) >= 1] or [0])
    accuracy.set_ylim(max(floor - 0.02, 0), 1.002)
    accuracy.legend(loc="lower right")
    rate.plot(epochs, [line["learning_rate"] for line in train], color=TRAIN_COLOR)
    rate.set(title="learning rate", xlabel="epoch")
    rate.grid(alpha=0.3)
    return figure


def confusion(matrix: NDArray[Any], classes: Sequence[str]) -> Figure:
    """The confusion matrix [true, predicted]; colours show the errors, not the diagonal."""
    size = max(4.5, 0.55 * len(classes))
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    errors = matrix * (1 - np.eye(len(classes), dtype=matrix.dtype))
    darkest = max(errors.max(), 5)  # a single error should not look like a catastrophe
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=darkest)
    for true in range(len(classes)):
        for predicted in range(len(classes)):
            count = matrix[true, predicted]
            if count:
                right, dark = true == predicted, errors[true, predicted] > 0.6 * darkest
                axes.text(
                    predicted, true, str(count), ha="center", va="center", fontsize=8,
                    color="#888888" if right else "white" if dark else "black",
                )  # fmt: skip
    ticks = range(len(classes))
    turned = 0 if max(map(len, classes)) < 4 else 60
    axes.set_xticks(ticks, classes, rotation=turned)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix (errors coloured)")
    return figure


def predictions(
    images: NDArray[Any],
    true: Sequence[str],
    predicted: Sequence[str],
    *,
    title: str,
    columns: int = 10,
) -> Figure:
    """A grid of images [N, H, W, C], each titled "true:predicted"; errors in red."""
    rows = math.ceil(len(images) / columns)
    figure, grid = _tiles(rows, columns, title, width=1.05, height=1.3)
    for i, axes in enumerate(grid.flat):
        axes.axis("off")
        if i < len(images):
            _show(axes, images[i])
            right = true[i] == predicted[i]
            axes.set_title(
                f"{true[i]}:{predicted[i]}", fontsize=9, color="black" if right else WRONG_COLOR
            )
    return figure


def filters(kernel: NDArray[Any], *, title: str, columns: int = 8) -> Figure:
    """The kernels [h, w, in, out] of a first layer, one picture for each output.

    With one input channel grey is zero, white positive, black negative, on one scale for all;
    with three the kernel is shown in colour.
    """
    outputs = kernel.shape[-1]
    columns = min(columns, outputs)
    rows = math.ceil(outputs / columns)
    figure, grid = _tiles(rows, columns, title, width=max(1.2, 4 / columns), height=1.3)
    limit = float(np.abs(kernel).max()) or 1.0
    for i, axes in enumerate(grid.flat):
        axes.axis("off")
        if i < outputs:
            one = kernel[..., i]
            if one.shape[-1] == 3:
                axes.imshow(0.5 + 0.5 * one / limit)
            else:
                axes.imshow(one.mean(-1), cmap="gray", vmin=-limit, vmax=limit)
            axes.set_title(str(i), fontsize=8)
    return figure


def feature_maps(image: NDArray[Any], maps: Mapping[str, NDArray[Any]], most: int = 16) -> Figure:
    """One image [H, W, C] and, for each layer, its maps [h, w, c] (at most `most` of them)."""
    columns = max(min(most, m.shape[-1]) for m in maps.values())
    figure, grid = _tiles(
        len(maps) + 1, columns, "feature maps of one test image", width=0.85, height=1.05
    )
    for axes in grid.flat:
        axes.axis("off")
    _show(grid[0, 0], image)
    grid[0, 0].set_title("input", fontsize=8)
    for row, (path, layer) in enumerate(maps.items(), start=1):
        for i in range(min(columns, layer.shape[-1])):
            grid[row, i].imshow(layer[..., i], cmap="gray")
        height, width, channels = layer.shape
        grid[row, 0].set_title(f"{path} {height}x{width}x{channels}", fontsize=8, loc="left")
    return figure


def _tiles(
    rows: int, columns: int, title: str, *, width: float, height: float
) -> tuple[Figure, NDArray[Any]]:
    """A figure with a grid of axes, each with room for a line above it; sizes in inches.

    Placed by hand: matplotlib's own layouts draw every axis once more to measure it.
    """
    head, line = 0.45, 0.25
    whole = rows * height + head
    figure = Figure(figsize=(columns * width, whole))
    figure.suptitle(title, y=1 - 0.1 / whole, va="top")
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "left": 0.01,
            "right": 0.99,
            "bottom": 0.05 / whole,
            "top": 1 - (head + line) / whole,
            "wspace": 0.08,
            "hspace": line / (height - line),
        },
    )
    return figure, grid


def _show(axes: Axes, image: NDArray[Any]) -> None:
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray")
    else:
        axes.imshow(image)


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
