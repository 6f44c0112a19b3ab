"""Pictures of a trained network and the HTML page of a run.

Importing this imports matplotlib, so `jaxcnn` itself does not import it.
"""

from jaxcnn.report.inside import curves, image_rows, lines, ranked_bars
from jaxcnn.report.page import add_pictures, render
from jaxcnn.report.plots import (
    confusion,
    feature_maps,
    filters,
    png,
    predictions,
    training_curves,
)

__all__ = [
    "add_pictures",
    "confusion",
    "curves",
    "feature_maps",
    "filters",
    "image_rows",
    "lines",
    "png",
    "predictions",
    "ranked_bars",
    "render",
    "training_curves",
]
