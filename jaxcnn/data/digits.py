"""The embedded data set: 1,797 real handwritten digits that come with scikit-learn.

From the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998),
8x8 pixels of 0 to 16. To fit networks made for MNIST they are scaled to 0 to 255, enlarged to
20x20 (bicubic) and centred in 28x28, as MNIST centres its digits.

The split is fixed: every fifth image, starting with the first, is held out for testing: 360
of 1,797. The same 13 writers are in both parts, so the test is easier than MNIST's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jaxcnn.data.dataset import Dataset, Splits

_SOURCE = "scikit-learn's embedded digits, enlarged from 8x8 to 28x28"


def load_digits() -> Splits:
    """1,437 training and 360 test images, [28, 28, 1], of the digits 0 to 9."""
    from PIL import Image
    from sklearn import datasets

    bunch = datasets.load_digits()
    images: NDArray[np.uint8] = np.zeros((len(bunch.images), 28, 28, 1), np.uint8)
    for row, small in enumerate(bunch.images):
        grey = Image.fromarray(np.round(small * (255 / 16)).astype(np.uint8))
        images[row, 4:24, 4:24, 0] = np.asarray(grey.resize((20, 20), Image.Resampling.BICUBIC))
    whole = Dataset(
        name="digits",
        images=images,
        labels=bunch.target.astype(np.int32),
        classes=tuple(str(digit) for digit in range(10)),
        source=_SOURCE,
    )
    held_out = np.arange(len(whole)) % 5 == 0
    return Splits(
        train=whole.take(np.flatnonzero(~held_out), "digits/train"),
        test=whole.take(np.flatnonzero(held_out), "digits/test"),
    )
