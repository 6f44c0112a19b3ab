"""Data sets in memory, and what happens to their images on the way to the network.

- reading: `load` by name, `read_idx_pair` and `read_idx_folder`, `load_digits`
- the type: `Dataset`, `Splits`
- preparing and augmenting, on the device: `Scale`, `Shift`
- batches: `steps_per_epoch`, `epoch_order`, `train_batch`, `eval_batch`
"""

from jaxcnn.data.augment import Shift
from jaxcnn.data.batches import epoch_order, eval_batch, steps_per_epoch, train_batch
from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.digits import load_digits
from jaxcnn.data.idx import read_idx_folder, read_idx_pair
from jaxcnn.data.load import DataName, load
from jaxcnn.data.preprocess import Scale

__all__ = [
    "DataName",
    "Dataset",
    "Scale",
    "Shift",
    "Splits",
    "epoch_order",
    "eval_batch",
    "load",
    "load_digits",
    "read_idx_folder",
    "read_idx_pair",
    "steps_per_epoch",
    "train_batch",
]
