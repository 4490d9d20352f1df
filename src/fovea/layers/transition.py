"""Transition between dense blocks: fewer channels by a 1×1 convolution, half the size by mean pooling."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from fovea.errors import UsageError


class Transition(nn.Sequential):
    """Batch normalisation, ReLU, 1×1 convolution, mean pooling 2×2; a last odd row or column is dropped.

    The paper's text names no ReLU; its code has one, and so do all since.

    Args:
        in_channels: Channels of the input.
        compression: Share of the channels that is left, in (0, 1], rounded down; the paper's θ, 0.5 in DenseNet-BC.
        dropout: Share of activations dropped behind the convolution, in [0, 1).

    Raises:
        UsageError: compression lies outside (0, 1] or leaves no channels, or dropout lies outside [0, 1).

    Source: Huang, Liu, van der Maaten and Weinberger 2016, arXiv:1608.06993, section 3.
    """

    def __init__(self, in_channels: int, *, compression: float = 0.5, dropout: float = 0.0) -> None:
        if not 0 < compression <= 1 or math.floor(compression * in_channels) < 1:
            raise UsageError(
                f"compression (={compression}) must be above 0 and at most 1, and leave of {in_channels} channels one"
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout (={dropout}) must be at least 0 and less than 1")
        out_channels = math.floor(compression * in_channels)
        parts: dict[str, nn.Module] = {
            "norm": nn.BatchNorm2d(in_channels),
            "relu": nn.ReLU(),
            "conv": nn.Conv2d(in_channels, out_channels, 1, bias=False),
        }
        if dropout:
            parts["dropout"] = nn.Dropout(dropout)
        parts["pool"] = nn.AvgPool2d(2)
        super().__init__(OrderedDict(parts))
        self.out_channels = out_channels
