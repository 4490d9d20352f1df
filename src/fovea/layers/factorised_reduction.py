"""Half the resolution without losing every second pixel: two strided 1×1 convolutions, one shifted by a pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ShapeError
from fovea.layers.operations import Norm


class FactorisedReduction(nn.Module):
    """Two 1×1 convolutions at stride 2, side by side, of which the second sees the pixels one further down and right.

    A single one would see a quarter of the pixels, these see half of them. An odd number of output channels gives the
    second one more; the published code takes even ones only, which AmoebaNet-A (6, 190) with its 47 and 95 is not.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, 2 or more.
        norm: Makes the normalisation behind both.

    Raises:
        ShapeError: fewer than two output channels.

    Source: the code published with Zoph et al. 2018, arXiv:1707.07012.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        if out_channels < 2:
            raise ShapeError(f"out_channels (={out_channels}) must be 2 or more, one for each half")
        half = out_channels // 2
        self.first = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.second = nn.Conv2d(in_channels, out_channels - half, 1, stride=2, bias=False)
        self.norm = norm(out_channels)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Maps of half the size, rounded up."""
        shifted = F.pad(maps, (-1, 1, -1, 1))
        halved: Tensor = self.norm(torch.cat((self.first(maps), self.second(shifted)), dim=1))
        return halved
