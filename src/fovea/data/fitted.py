"""Splits whose images are brought to the network's size: packed in memory, or read again each time."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.ahead import ahead
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Images, Split
from fovea.errors import DataError, UnreadableImage

MEMORY_FOR_PIXELS = 2 << 30  # bytes of fitted pixels a split may keep in memory
NAMED_FAILURES = 10


@dataclass(frozen=True)
class Fitted:
    """A split at the network's size.

    Args:
        images: The raw images.
        labels: Their classes.
        preprocessing: What brings an image to the network's size, and its pixels to numbers.
        packed: All fitted pixels, channels last in memory; None where they do not fit, or are not wanted.
        workers: Threads that read ahead where they are not packed.
    """

    images: Images
    labels: Int[Tensor, "n"]
    preprocessing: Preprocessing
    packed: Shaped[Tensor, "n c s s"] | None
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64]) -> Shaped[Tensor, "b c s s"]:
        """The fitted pixels of some images, in the order asked for, channels last in memory."""
        if self.packed is None:
            return stacked([self.preprocessing.fit(self.images[int(i)]) for i in indices])
        rows = self.packed.permute(0, 2, 3, 1)
        return rows.index_select(0, torch.from_numpy(indices).to(rows.device)).permute(0, 3, 1, 2)

    def told(self, indices: NDArray[np.int64]) -> str:
        """The names of some images, the first three of them where they are many."""
        more = f" and {len(indices) - 3} more" if len(indices) > 3 else ""
        return ", ".join(self.images.name(int(index)) for index in indices[:3]) + more

    def on(self, device: torch.device) -> Fitted:
        """The same with its packed pixels on a device, where whole batches of them are made."""
        return self if self.packed is None else dataclasses.replace(self, packed=self.packed.to(device))

    def batches(self, size: int, chosen: Iterable[int] | None = None) -> Iterator[Shaped[Tensor, "b c s s"]]:
        """The fitted pixels in their order, in batches whose boundaries depend on the size alone.

        Args:
            size: Images of a batch; the last has what is left.
            chosen: Which of the batches, counted from 0; all where None.
        """
        places = range(math.ceil(len(self) / size)) if chosen is None else chosen
        parts = [np.arange(place * size, min((place + 1) * size, len(self))) for place in places]
        return ahead(self.gather, parts, 0 if self.packed is not None else self.workers, told=self.told)


def stacked(arrays: list[NDArray[np.generic]]) -> Shaped[Tensor, "b c s s"]:
    """Arrays (c, s, s) that have their channels last in memory as one tensor that has them last, too."""
    rows = [array.transpose(1, 2, 0) for array in arrays]
    found = np.empty((len(rows), *rows[0].shape), rows[0].dtype)  # np.stack may follow another order of its inputs
    for place, row in enumerate(rows):
        found[place] = row
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def fit_split(split: Split, preprocessing: Preprocessing, *, workers: int = 0) -> Fitted:
    """Bring every image of a split to the network's size, once, and keep it in memory where the budget allows.

    Raises:
        DataError: images that cannot be read or fitted; the first ones are named, all are counted.
    """
    side, channels = preprocessing.image_size, preprocessing.in_channels
    first = _first_readable(split, preprocessing)
    if len(split) * first.nbytes > MEMORY_FOR_PIXELS:
        return unpacked(split, preprocessing, workers=workers)
    packed = np.empty((len(split), side, side, channels), first.dtype)
    failures: list[str] = []

    def fit(index: int) -> None:
        try:
            packed[index] = preprocessing.fit(split.images[index]).transpose(1, 2, 0)
        except UnreadableImage as error:
            failures.append(str(error))

    with ThreadPoolExecutor(max(1, workers)) as pool:
        deque(pool.map(fit, range(len(split))), maxlen=0)
    if failures:
        named = "\n  ".join(sorted(failures)[:NAMED_FAILURES])
        more = f"\n  and {len(failures) - NAMED_FAILURES} more" if len(failures) > NAMED_FAILURES else ""
        raise DataError(
            f"{len(failures)} of {len(split)} {split.name} images cannot be read; mend or remove them:\n  {named}{more}"
        )
    whole = torch.from_numpy(packed).permute(0, 3, 1, 2)
    return Fitted(split.images, torch.from_numpy(split.labels), preprocessing, whole, workers)


def unpacked(split: Split, preprocessing: Preprocessing, *, workers: int = 0) -> Fitted:
    """A split whose images are read and fitted whenever they are asked for."""
    return Fitted(split.images, torch.from_numpy(split.labels), preprocessing, None, workers)


def _first_readable(split: Split, preprocessing: Preprocessing) -> NDArray[np.generic]:
    """What tells the size in memory; an unreadable image is named later, with all others."""
    for index in range(len(split)):
        with contextlib.suppress(UnreadableImage):
            return preprocessing.fit(split.images[index])
    return np.zeros((preprocessing.in_channels, preprocessing.image_size, preprocessing.image_size), np.uint8)
