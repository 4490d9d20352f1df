"""Fitted pixels in memory or on demand, and batches of them in an order that is a function of (seed, epoch)."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from fovea import randomness
from fovea.data.augmentation.batch import augment
from fovea.data.options import Augmentation
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import Images, Split
from fovea.errors import DataError, UnreadableImage

MEMORY_FOR_PIXELS = 2 << 30  # bytes of fitted pixels a split may keep in memory
NAMED_FAILURES = 10


class Batch(NamedTuple):
    """One step's images and labels."""

    pixels: Shaped[Tensor, "n c s s"]
    labels: Int[Tensor, "n"]


@dataclass(frozen=True)
class Fitted:
    """A split whose images are brought to the network's size: packed in memory, or read again each time."""

    images: Images
    labels: Int[Tensor, "n"]
    preprocessing: Preprocessing
    packed: Shaped[Tensor, "n c s s"] | None

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: NDArray[np.int64]) -> Shaped[Tensor, "b c s s"]:
        """The fitted pixels of some images, in the order asked for."""
        if self.packed is not None:
            return self.packed[torch.from_numpy(indices)]
        return torch.from_numpy(np.stack([self.preprocessing.fit(self.images[int(i)]) for i in indices]))


def fit_split(split: Split, preprocessing: Preprocessing, *, workers: int = 0) -> Fitted:
    """Bring every image of a split to the network's size, once, and keep it in memory where the budget allows.

    Raises:
        DataError: images that cannot be read or fitted; the first ones are named, all are counted.
    """
    side, channels = preprocessing.image_size, preprocessing.in_channels
    labels = torch.from_numpy(split.labels)
    first = _first_readable(split, preprocessing)
    if len(split) * first.nbytes > MEMORY_FOR_PIXELS:
        return Fitted(split.images, labels, preprocessing, None)
    packed = np.empty((len(split), channels, side, side), first.dtype)
    failures: list[str] = []

    def fit(index: int) -> None:
        try:
            packed[index] = preprocessing.fit(split.images[index])
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
    return Fitted(split.images, labels, preprocessing, torch.from_numpy(packed))


def _first_readable(split: Split, preprocessing: Preprocessing) -> NDArray[np.generic]:
    """What tells the size in memory; an unreadable image is named later, with all others."""
    for index in range(len(split)):
        with contextlib.suppress(UnreadableImage):
            return preprocessing.fit(split.images[index])
    return np.zeros((preprocessing.in_channels, preprocessing.image_size, preprocessing.image_size), np.uint8)


@dataclass(frozen=True, kw_only=True)
class TrainingBatches:
    """Batches for training: shuffled, augmented, equal in size, the same for any number of workers.

    Order = f(seed, epoch); augmentation = f(seed, epoch, index). What does not fill the last batch of an epoch is left
    out of that epoch; the next one shuffles anew. With several ranks each takes its share of every batch.

    Args:
        fitted: The training split.
        batch_size: Images of one step, over all ranks.
        seed, augmentation: What the draws depend on.
        workers: Threads that prepare batches ahead; 0 prepares them in the loop itself.
        rank, ranks: This process's share.
    """

    fitted: Fitted
    batch_size: int
    seed: int
    augmentation: Augmentation
    workers: int = 0
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        """Refuse sizes that give no batch, or unequal shares."""
        if self.batch_size % self.ranks:
            raise DataError(f"batch_size (={self.batch_size}) must be divisible by the {self.ranks} ranks")
        if len(self.fitted) < self.batch_size:
            raise DataError(
                f"there are {len(self.fitted)} training images, fewer than one batch of {self.batch_size}; "
                f"choose --batch-size {len(self.fitted)} or less"
            )

    def __len__(self) -> int:
        return len(self.fitted) // self.batch_size

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0, from step `start` of it on."""
        order = randomness.permutation(randomness.key(self.seed, "order", epoch), len(self.fitted))
        draw_key = randomness.key(self.seed, "augmentation", epoch)
        shares = [
            order[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.ranks]
            for step in range(start, len(self))
        ]
        if self.workers == 0:
            return (self._batch(share, draw_key) for share in shares)
        return self._ahead(shares, draw_key)

    def _batch(self, indices: NDArray[np.int64], draw_key: int) -> Batch:
        pixels = augment(self.fitted.gather(indices), indices, self.augmentation, draw_key)
        return Batch(pixels, self.fitted.labels[torch.from_numpy(indices)])

    def _ahead(self, shares: list[NDArray[np.int64]], draw_key: int) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="fovea-loader") as pool:
            try:
                for share in shares:
                    waiting.append(pool.submit(self._batch, share, draw_key))
                    if len(waiting) > 2 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
