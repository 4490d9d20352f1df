"""What the loader hands to the loop: images, labels, and what was mixed into them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class Batch(NamedTuple):
    """One step's images and labels.

    Args:
        images: What the network receives.
        labels: Their classes.
        partners: The classes of the images mixed in; None where nothing is mixed.
        shares: How much of an image is its own, from 0 to 1.
    """

    images: Float[Tensor, "n c s s"]
    labels: Int[Tensor, "n"]
    partners: Int[Tensor, "n"] | None = None
    shares: Float[Tensor, "n"] | None = None

    def targets(self, num_classes: int) -> Int[Tensor, "n"] | Float[Tensor, "n {num_classes}"]:
        """The labels; where images are mixed, each class's share of each image."""
        if self.partners is None or self.shares is None:
            return self.labels
        own, other = (F.one_hot(each, num_classes).float() for each in (self.labels, self.partners))
        return self.shares[:, None] * own + (1 - self.shares[:, None]) * other

    def parts(self, count: int) -> Iterator[Batch]:
        """The batch cut into so many parts of equal size, the last ones smaller where it does not divide."""
        size = -(-len(self.labels) // count)
        for start in range(0, len(self.labels), size):
            yield self.between(start, start + size)

    def between(self, start: int, stop: int) -> Batch:
        """The images from one place to before another, with all that belongs to them."""
        partners = None if self.partners is None else self.partners[start:stop]
        shares = None if self.shares is None else self.shares[start:stop]
        return Batch(self.images[start:stop], self.labels[start:stop], partners, shares)
