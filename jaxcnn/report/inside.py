"""Pictures of what was found inside a network. Nothing here computes: arrays come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def image_rows(rows: Mapping[str, Sequence[NDArray[Any]]], titles: Sequence[str] = ()) -> Figure:
    """A grid of images, one labelled row of them for each entry.

    Args:
      rows: label -> images [H, W], [H, W, 1] or [H, W, 3]; grey ones are stretched to their range.
      titles: over the columns.
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(1.1 * columns + 1.6, 1.25 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (label, images) in enumerate(rows.items()):
        for column in range(columns):
            place = axes[row, column]
            place.set_xticks([])
            place.set_yticks([])
            if column >= len(images):
                place.set_axis_off()
                continue
            image = np.asarray(images[column], np.float32)
            if image.ndim == 3 and image.shape[-1] == 1:
                image = image[..., 0]
            if image.ndim == 3:
                place.imshow(_stretched(image))
            else:
                place.imshow(image, cmap="gray")
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    for column, title in enumerate(titles):
        axes[0, column].set_title(title, fontsize=8)
    return figure


def lines(
    xs: Sequence[float], ys: Mapping[str, Sequence[float]], *, x_label: str, y_label: str
) -> Figure:
    """Curves over one axis."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for (label, values), style in zip(ys.items(), ("o-", "s--", "^:", "x-."), strict=False):
        axes.plot(xs, values, style, label=label)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    if len(ys) > 1:
        axes.legend()
    return figure


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Curves with points of their own: label -> (xs, ys)."""
    figure = Figure(figsize=(6.8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (label, (xs, ys)) in enumerate(series.items()):
        style = ("-", "--", "-.", ":")[number // 10 % 4]
        axes.plot(xs, ys, style, label=label, marker="o" if len(xs) < 12 else None, markersize=3)
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize=8)
    return figure


def ranked_bars(
    images: Sequence[NDArray[Any]],
    names: Sequence[Sequence[str]],
    chances: NDArray[Any],
    truths: Sequence[str],
) -> Figure:
    """For each image its most likely classes as bars, the true one darker.

    Args:
      images: [H, W, C] each.
      names: for each image the classes in falling order.
      chances: [N, K], their probabilities.
      truths: for each image its class.
    """
    count = len(images)
    figure = Figure(figsize=(1.6 * count, 3.4), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for column, image in enumerate(images):
        top, bottom = axes[0, column], axes[1, column]
        top.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray")
        top.set_axis_off()
        top.set_title(truths[column], fontsize=9)
        colors = ["#1f4e79" if n == truths[column] else "#b8c9dc" for n in names[column]]
        bottom.barh(range(len(names[column])), chances[column], color=colors)
        bottom.set_yticks(range(len(names[column])), names[column], fontsize=8)
        bottom.invert_yaxis()
        bottom.set_xlim(0, 1)
        bottom.tick_params(axis="x", labelsize=7)
    return figure


def _stretched(image: NDArray[Any]) -> NDArray[Any]:
    low, high = image.min(), image.max()
    stretched: NDArray[Any] = (image - low) / max(high - low, 1e-12)
    return stretched
