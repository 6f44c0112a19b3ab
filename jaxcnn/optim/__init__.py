"""Optimizers and learning-rate schedules by name, on optax.

Whatever optax offers works as well: the training step takes any `GradientTransformation`
that ends in `scale_by_rate`.
"""

from jaxcnn.optim.optimizers import (
    OptimizerName,
    RateState,
    learning_rate,
    optimizer,
    scale_by_rate,
)
from jaxcnn.optim.schedules import ScheduleName, Unit, schedule
from jaxcnn.parameters import is_kernel

__all__ = [
    "OptimizerName",
    "RateState",
    "ScheduleName",
    "Unit",
    "is_kernel",
    "learning_rate",
    "optimizer",
    "scale_by_rate",
    "schedule",
]
