"""Data sets, and what happens to their images on the way to the network.

- reading: `load` by name, `read_idx_pair` and `read_idx_folder`, `load_digits`
- checking published sets to the bit: `verify`
- the type: `Dataset`, `Splits`
- preparing whole batches, on the device: `Scale`, `Standardize`, `SubtractMeanImage`, `Pad`,
  `Steps`; with statistics of a data set: `fit_channel_mean`, `fit_mean_deviation`,
  `fit_mean_image`
- augmenting one image, on the device: `Shift`, `RandomCrop`, `Flip`, `AlternatingFlip`, `Cutout`,
  `Affine`, `Elastic`, `Jitter`, `PCANoise` (`fit_pca_noise`), `Sometimes`, `Compose`
- mixing the examples of a batch: `Mixup`, `Cutmix`
- storing any of these with a run: `to_dict`, `from_dict`
- larger than memory: `ImageFolder`, `PreparedPictures`, `Stream`, which reads either (or your own
  `Pictures`) by worker processes, `prefetch`, `Throughput`
- batches: `steps_per_epoch`, `epoch_order`, `train_batch`, `eval_batch`
"""

from jaxcnn.data.ahead import Throughput, prefetch
from jaxcnn.data.augment import (
    Affine,
    AlternatingFlip,
    Compose,
    Cutout,
    Elastic,
    Example,
    Flip,
    Jitter,
    PCANoise,
    RandomCrop,
    Shift,
    Sometimes,
    fit_pca_noise,
)
from jaxcnn.data.batches import epoch_order, eval_batch, steps_per_epoch, train_batch
from jaxcnn.data.dataset import Dataset, Splits
from jaxcnn.data.digits import load_digits
from jaxcnn.data.folder import CorruptImageError, ImageFolder
from jaxcnn.data.idx import read_idx_folder, read_idx_pair
from jaxcnn.data.load import DataName, load
from jaxcnn.data.mixing import Cutmix, Mixup
from jaxcnn.data.pictures import Pictures
from jaxcnn.data.preprocess import (
    Pad,
    Scale,
    Standardize,
    Steps,
    SubtractMeanImage,
    fit_channel_mean,
    fit_mean_deviation,
    fit_mean_image,
)
from jaxcnn.data.record import from_dict, to_dict
from jaxcnn.data.records import PreparedPictures
from jaxcnn.data.stream import Stream
from jaxcnn.data.verify import Verification, verify

__all__ = [
    "Affine",
    "AlternatingFlip",
    "Compose",
    "CorruptImageError",
    "Cutmix",
    "Cutout",
    "DataName",
    "Dataset",
    "Elastic",
    "Example",
    "Flip",
    "ImageFolder",
    "Jitter",
    "Mixup",
    "PCANoise",
    "Pad",
    "Pictures",
    "PreparedPictures",
    "RandomCrop",
    "Scale",
    "Shift",
    "Sometimes",
    "Splits",
    "Standardize",
    "Steps",
    "Stream",
    "SubtractMeanImage",
    "Throughput",
    "Verification",
    "epoch_order",
    "eval_batch",
    "fit_channel_mean",
    "fit_mean_deviation",
    "fit_mean_image",
    "fit_pca_noise",
    "from_dict",
    "load",
    "load_digits",
    "prefetch",
    "read_idx_folder",
    "read_idx_pair",
    "steps_per_epoch",
    "to_dict",
    "train_batch",
    "verify",
]
