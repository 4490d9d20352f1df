"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8×8 pixels, the UCI set's test part."""

from __future__ import annotations

import numpy as np

from fovea.data.sets import ArrayImages
from fovea.data.splits import Fractions

SPLIT: Fractions = (0.6, 0.2, 0.2)
CLASSES = tuple("0123456789")


def read() -> tuple[ArrayImages, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """All images as uint8 and their labels.

    The set's grey levels 0 to 16 become round(level × 255 / 16), so that a PNG holds them exactly.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return ArrayImages(pixels, "digits"), digits.target.astype(np.int64)
