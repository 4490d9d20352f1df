"""Images that are decoded once and kept: for sets whose pixels fit in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import FileImages, Images


@dataclass(frozen=True)
class Remembered:
    """The same images; each is decoded when it is first asked for, and never again."""

    images: Images
    _kept: dict[int, NDArray[np.generic]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        found = self._kept.get(index)
        if found is None:  # two threads may both decode it: the same pixels
            found = self._kept[index] = self.images[index]
        return found

    def name(self, index: int) -> str:
        """As the images have it."""
        return self.images.name(index)

    def fingerprint(self) -> str:
        """As the images have it."""
        return self.images.fingerprint()


def bytes_of(images: FileImages) -> int:
    """How many bytes the decoded pixels take, by the sizes in the index."""
    index, rows = images.index, images.rows
    return int((index.widths[rows].astype(np.int64) * index.heights[rows]).sum()) * 3
