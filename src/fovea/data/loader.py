"""Batches for training: their order is a function of (seed, epoch), their changes one of (seed, epoch, index)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from fovea import randomness
from fovea.data.ahead import ahead
from fovea.data.augmentation.batch import alternating, augment, flipped
from fovea.data.augmentation.components import Components
from fovea.data.augmentation.image import one_by_one, varied
from fovea.data.augmentation.mixing import mix
from fovea.data.augmentation.values import vary_values
from fovea.data.batch import Batch
from fovea.data.fitted import Fitted, stacked
from fovea.data.options import Augmentation
from fovea.errors import DataError


class Pixels(NamedTuple):
    """A batch on its way: fitted pixels, and which images they are."""

    pixels: Shaped[Tensor, "n c s s"]
    indices: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TrainingBatches:
    """Batches for training: shuffled, augmented, equal in size, the same for any number of workers.

    Order = f(seed, epoch); augmentation = f(seed, epoch, index). What does not fill the last batch of an epoch is left
    out of that epoch; the next one shuffles anew. With several ranks each takes its share of every batch.

    Reading, cropping and what works on pixels is done ahead by threads; what works on whole batches of numbers is done
    on the device. Pixels packed on the device never leave it. MixUp and CutMix pair the images of a rank's own share.

    Args:
        fitted: The training split.
        batch_size: Images of one step, over all ranks.
        seed: What order and augmentation depend on.
        augmentation: How images are varied.
        components: The principal components of the training pixels' colours, where augmentation wants them.
        workers: Threads that prepare batches ahead; 0 prepares them in the loop itself.
        rank, ranks: This process's share.
        device: Where the batches are wanted.
    """

    fitted: Fitted
    batch_size: int
    seed: int
    augmentation: Augmentation
    components: Components | None = None
    workers: int = 0
    rank: int = 0
    ranks: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

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

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[Batch, None, None]:
        """The batches of one epoch, counted from 0, from step `start` of it on."""
        draw_key = self._draw_key(epoch)
        order = self._order(epoch)
        shares = [self._share(order, step) for step in range(start, len(self))]
        made = ahead(lambda share: self._pixels(share, epoch), shares, self.workers, told=self.fitted.told)
        try:
            for each in made:
                yield self._finished(each, draw_key)
        finally:
            made.close()

    def share(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Which images this process sees in a step of an epoch, both counted from 0."""
        return self._share(self._order(epoch), step)

    def batch(self, indices: NDArray[np.int64], epoch: int) -> Batch:
        """These very images as the epoch would show them, whatever batch they lie in."""
        draw_key = self._draw_key(epoch)
        return self._finished(self._pixels(indices, epoch), draw_key)

    def _draw_key(self, epoch: int) -> int:
        return randomness.key(self.seed, "augmentation", epoch)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return randomness.permutation(randomness.key(self.seed, "order", epoch), len(self.fitted))

    def _share(self, order: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        return order[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.ranks]

    def _pixels(self, indices: NDArray[np.int64], epoch: int) -> Pixels:
        options, draw_key = self.augmentation, self._draw_key(epoch)
        if one_by_one(options):
            pixels = stacked(varied(self.fitted, indices, options, draw_key))
        else:
            pixels = self.fitted.gather(indices)
        if options.flip_alternately:
            pixels = flipped(pixels, alternating(indices, self.seed, epoch))
        return Pixels(augment(pixels, indices, options, draw_key), indices)

    def _finished(self, made: Pixels, draw_key: int) -> Batch:
        images = self.fitted.preprocessing.normalise(made.pixels.to(self.device, non_blocking=True))
        images = vary_values(images, made.indices, self.augmentation, draw_key, self.components)
        labels = self.fitted.labels[torch.from_numpy(made.indices)].to(self.device)
        return mix(images, labels, made.indices, self.augmentation, draw_key)
