"""Raw images of any kind as pictures for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_colour(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Any raw image as (height, width, 3) of 8 bits; floats are taken as lying in [0, 1]."""
    planes = image if image.ndim == 3 else image[:, :, None]
    planes = planes[:, :, :3] if planes.shape[2] >= 3 else np.repeat(planes[:, :, :1], 3, axis=2)
    if planes.dtype != np.uint8:
        planes = np.clip(np.asarray(planes, np.float64) * 255, 0, 255).round()
    return planes.astype(np.uint8)
