"""Optimizers and learning-rate schedules by name, on optax; rules that scale rates with batches.

Whatever optax offers works as well: the training step takes any `GradientTransformation`
that ends in `scale_by_rate`.
"""

from jaxcnn.optim.momentum import momentum_switch
from jaxcnn.optim.optimizers import (
    OptimizerName,
    RateState,
    learning_rate,
    optimizer,
    rate_factor,
    scale_by_rate,
    with_rate_factor,
)
from jaxcnn.optim.partial import train_only
from jaxcnn.optim.scaling import RateRule, gradual_warmup, scale_rate
from jaxcnn.optim.schedules import ScheduleName, Unit, schedule
from jaxcnn.parameters import is_kernel

__all__ = [
    "OptimizerName",
    "RateRule",
    "RateState",
    "ScheduleName",
    "Unit",
    "gradual_warmup",
    "is_kernel",
    "learning_rate",
    "momentum_switch",
    "optimizer",
    "rate_factor",
    "scale_by_rate",
    "scale_rate",
    "schedule",
    "train_only",
    "with_rate_factor",
]
