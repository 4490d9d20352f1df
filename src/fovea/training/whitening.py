"""The whitening start: before the first step the first convolution becomes whitening filters of training patches."""

from __future__ import annotations

import numpy as np
from torch import nn

from fovea import bundle as bundles
from fovea.data.fitted import Fitted
from fovea.errors import UsageError
from fovea.layers.whitening import check_whitening, first_convolution, start_whitening
from fovea.randomness import key, permutation

IMAGES = 5000  # of the training split, the same ones in every process and for every seed


def check_whitened(network: nn.Module) -> None:
    """Refuse a network that cannot begin with whitening filters.

    Raises:
        UsageError: its first convolution has too few filters, or its weights come from elsewhere.
    """
    check_whitening(first_convolution(network))
    if bundles.origin_of(network) is not None:
        raise UsageError("whiten would replace the first convolution of weights that are given; leave one of them out")


def whiten(network: nn.Module, train_split: Fitted) -> None:
    """Give the first convolution the whitening filters of some training images, as the network receives them."""
    chosen = np.sort(permutation(key(0, "whiten"), len(train_split))[:IMAGES])
    images = train_split.preprocessing.normalise(train_split.gather(chosen))
    start_whitening(first_convolution(network), images)
