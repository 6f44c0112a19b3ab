"""Pictures of a trained network and the HTML page of a run.

Importing this imports matplotlib, so `jaxcnn` itself does not import it.
"""

from jaxcnn.report.inside import image_rows, lines, ranked_bars
from jaxcnn.report.page import render
from jaxcnn.report.plots import confusion, feature_maps, filters, predictions, training_curves

__all__ = [
    "confusion",
    "feature_maps",
    "filters",
    "image_rows",
    "lines",
    "predictions",
    "ranked_bars",
    "render",
    "training_curves",
]
