"""Dense blocks: every layer sees the feature maps of all layers before it, joined along the channels."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ShapeError, UsageError


class DenseLayer(nn.Sequential):
    """Batch normalisation, ReLU, convolution: once with 3×3, or with a 1×1 bottleneck before; gives the new maps alone.

    Args:
        in_channels: Channels of the input.
        growth_rate: Channels of the output; the paper's k.
        bottleneck: The 1×1 convolution in front of the 3×3 has this many times growth_rate channels; the paper has 4.
            None is the layer without it.
        dropout: Share of activations dropped behind each convolution, in [0, 1).

    Raises:
        ShapeError: growth_rate or bottleneck is below 1.
        UsageError: dropout lies outside [0, 1).

    Source: Huang, Liu, van der Maaten and Weinberger 2016, arXiv:1608.06993, section 3.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, *, bottleneck: int | None = None, dropout: float = 0.0
    ) -> None:
        for name, value in (("growth_rate", growth_rate), ("bottleneck", 1 if bottleneck is None else bottleneck)):
            if value < 1:
                raise ShapeError(f"{name} (={value}) must be 1 or more")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout (={dropout}) must be at least 0 and less than 1")
        convolutions = [(growth_rate, 3)] if bottleneck is None else [(bottleneck * growth_rate, 1), (growth_rate, 3)]
        parts: dict[str, nn.Module] = {}
        channels = in_channels
        for n, (out_channels, kernel) in enumerate(convolutions, start=1):
            parts[f"norm{n}"] = nn.BatchNorm2d(channels)
            parts[f"relu{n}"] = nn.ReLU()
            parts[f"conv{n}"] = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
            if dropout:
                parts[f"dropout{n}"] = nn.Dropout(dropout)
            channels = out_channels
        super().__init__(OrderedDict(parts))


class DenseBlock(nn.Sequential):
    """Layers of which each takes all maps so far and adds `growth_rate` to them.

    Memory while training grows with the square of the number of layers: every layer keeps its own joined copy of all
    maps before it for the backward pass. Parameters grow likewise, from a small constant.

    Args:
        in_channels: Channels of the input, which are the first of the output.
        layers: Number of layers.
        growth_rate: Channels that each layer adds.
        bottleneck: As `DenseLayer` has it.
        dropout: As `DenseLayer` has it.

    Raises:
        ShapeError: layers, growth_rate or bottleneck is below 1.
        UsageError: dropout lies outside [0, 1).

    Source: Huang, Liu, van der Maaten and Weinberger 2016, arXiv:1608.06993, section 3.
    """

    def __init__(
        self,
        in_channels: int,
        layers: int,
        *,
        growth_rate: int,
        bottleneck: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        if layers < 1:
            raise ShapeError(f"layers (={layers}) must be 1 or more")
        parts: dict[str, nn.Module] = {
            f"layer{n + 1}": DenseLayer(
                in_channels + n * growth_rate, growth_rate, bottleneck=bottleneck, dropout=dropout
            )
            for n in range(layers)
        }
        super().__init__(OrderedDict(parts))
        self.out_channels = in_channels + layers * growth_rate

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The input with every layer's maps behind it."""
        for layer in self:
            maps = torch.cat([maps, layer(maps)], dim=1)
        return maps
