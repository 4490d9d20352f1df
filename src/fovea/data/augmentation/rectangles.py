"""One rectangle in each image of a batch, as a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor


class Rectangles(NamedTuple):
    """Where each image's rectangle lies, in pixels; it may reach over the border, where it is clipped.

    Args:
        top, left: Its first row and column, one per image.
        height, width: How many there are; 0 for none.
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]

    def mask(self, size: int, device: torch.device) -> Bool[Tensor, "n 1 {size} {size}"]:
        """True within the rectangles, in images of `size` by `size` pixels."""
        places = np.arange(size)
        rows, columns = (
            torch.from_numpy((places >= first[:, None]) & (places < (first + length)[:, None])).to(device)
            for first, length in ((self.top, self.height), (self.left, self.width))
        )
        return rows[:, None, :, None] & columns[:, None, None, :]


def centred(centres: NDArray[np.float64], lengths: NDArray[np.int64], size: int) -> Rectangles:
    """Squares of the given sides, centred on any pixel.

    Args:
        centres: (n, 2) uniform numbers: how far down and to the right.
        lengths: Sides in pixels, one per image.
        size: Side of the images.
    """
    top, left = (centres * size).astype(np.int64).T - lengths // 2
    return Rectangles(top, left, lengths, lengths)
