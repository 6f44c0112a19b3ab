"""Training: the state, the two steps, the loop made of them, policies and evaluation."""

from jaxcnn.train.control import Monitored, Progress
from jaxcnn.train.evaluate import make_evaluator, predict
from jaxcnn.train.fault import Fault, find_fault, largest
from jaxcnn.train.interrupt import StopRequest, stop_on_signals
from jaxcnn.train.loop import Fit, fit, network_input
from jaxcnn.train.nonfinite import OnNonfinite
from jaxcnn.train.policies import Decision, Policy, ReduceOnPlateau, RetryOnDivergence, StepBack
from jaxcnn.train.precision import FLOAT32, MIXED, Precision
from jaxcnn.train.recalibrate import recalibrate
from jaxcnn.train.state import TrainState, init_train_state
from jaxcnn.train.step import make_eval_step, make_train_step

__all__ = [
    "FLOAT32",
    "MIXED",
    "Decision",
    "Fault",
    "Fit",
    "Monitored",
    "OnNonfinite",
    "Policy",
    "Precision",
    "Progress",
    "ReduceOnPlateau",
    "RetryOnDivergence",
    "StepBack",
    "StopRequest",
    "TrainState",
    "find_fault",
    "fit",
    "init_train_state",
    "largest",
    "make_eval_step",
    "make_evaluator",
    "make_train_step",
    "network_input",
    "predict",
    "recalibrate",
    "stop_on_signals",
]
