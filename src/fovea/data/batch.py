"""What the loader hands to the loop: images, labels, and what was mixed into them."""

from __future__ import annotations

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
