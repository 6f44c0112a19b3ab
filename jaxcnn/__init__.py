"""jaxcnn: a functional neural-network toolkit on JAX for convolutional networks.

A model is a frozen description; parameters and state are plain nested dicts:

    model = nn.chain(conv=nn.Conv(8, 5), act=nn.relu, flat=nn.Flatten(), fc=nn.Dense(10))
    params, state = jaxcnn.init(model, jax.random.key(0), (28, 28, 1))
    logits, state = jaxcnn.apply(model, params, state, images)
"""

# Describing and reading networks.
from jaxcnn import functional, losses, metrics, models, nn
from jaxcnn.api import apply, init
from jaxcnn.features import features
from jaxcnn.layer import Context, Layer, call
from jaxcnn.ledger import ledger

# Training them. The imports below need the names above.
from jaxcnn import data, optim, train  # isort: skip
from jaxcnn.errors import JaxcnnError
from jaxcnn.typing import Batch
from jaxcnn.version import __version__

__all__ = [
    "Batch",
    "Context",
    "JaxcnnError",
    "Layer",
    "__version__",
    "apply",
    "call",
    "data",
    "features",
    "functional",
    "init",
    "ledger",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "train",
]
