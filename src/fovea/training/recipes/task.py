"""What is to be learned, as far as a recipe fits itself to it."""

from __future__ import annotations

import fnmatch
from typing import NamedTuple

# Depthwise or separable convolutions, which want a lower rate and little weight decay.
DEPTHWISE = (
    "mobilenet_*",
    "mnasnet_*",
    "efficientnet_*",
    "nasnet_*",
    "amoebanet_*",
    "cifar_nasnet_*",
    "cifar_amoebanet_*",
)
# No normalisation of batches, without which a high rate does not hold.
UNNORMALISED = (
    "lenet*",
    "alexnet*",
    "zfnet*",
    "*nin",
    "vgg??",
    "vgg??_lrn",
    "vgg??_c",
    "vgg??_book*",
    "googlenet",
    "googlenet_s*",
)
# Fully connected layers, or small maps at the end, that belong to one size of images.
ONE_SIZE = ("lenet*", "alexnet*", "zfnet*", "vgg*")


class Task(NamedTuple):
    """A network and the data that it is to learn.

    Args:
        network: Its name, or file.py:Class.
        images: How many there are to train on.
        side: Of the network's images, in pixels.
        photographs: Whether they may be mirrored and cut, and have colours; digits and signs may not.
    """

    network: str
    images: int
    side: int
    photographs: bool = True

    def is_one_of(self, patterns: tuple[str, ...]) -> bool:
        """Whether the network's name matches one of the patterns."""
        return any(fnmatch.fnmatchcase(self.network, pattern) for pattern in patterns)
