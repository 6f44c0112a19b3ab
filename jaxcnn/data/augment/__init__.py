"""Augmentation: frozen functions `(key, image [H, W, C]) -> image`, run on the device.

uint8 in, uint8 out: rounded and clipped. One key gives one result, whatever the batch. Those
with parameters that say "do nothing" return the image itself.
"""

from jaxcnn.data.augment.colour import Jitter, PCANoise, fit_pca_noise
from jaxcnn.data.augment.compose import AlternatingFlip, Compose, Example, Sometimes
from jaxcnn.data.augment.geometric import Cutout, Flip, RandomCrop, Shift
from jaxcnn.data.augment.warp import Affine, Elastic

__all__ = [
    "Affine",
    "AlternatingFlip",
    "Compose",
    "Cutout",
    "Elastic",
    "Example",
    "Flip",
    "Jitter",
    "PCANoise",
    "RandomCrop",
    "Shift",
    "Sometimes",
    "fit_pca_noise",
]
