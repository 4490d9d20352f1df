"""Squeeze and excitation: each channel is scaled by a number between 0 and 1 that depends on the whole image."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ShapeError


class SqueezeExcitation(nn.Module):
    """Global context as a gate on channels: mean over space, two fully connected layers, a gate, a product.

    The two layers are 1×1 convolutions on a 1×1 map, as the released networks have them.

    Args:
        channels: Channels of the maps, in and out.
        hidden: Units between the two layers; the paper has channels / 16.
        activation: Makes the nonlinearity between the two layers.
        gate: Makes the function that gives the scale of each channel.
        bias: Whether the two layers have biases; the paper's formula counts none, its released networks have them.

    Raises:
        ShapeError: channels or hidden is below 1.

    Source: Hu, Shen and Sun 2018, arXiv:1709.01507, section 3.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
        bias: bool = True,
    ) -> None:
        for name, value in (("channels", channels), ("hidden", hidden)):
            if value < 1:
                raise ShapeError(f"{name} (={value}) of a squeeze-and-excitation must be 1 or more")
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.activation = activation()
        self.expand = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.gate = gate()

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The maps, each channel scaled by its gate."""
        return maps * self.scales(maps)

    def scales(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
        """The gate of each channel, in (0, 1) with the usual gate."""
        # Not by `mean`, which gives the same: its gradient lies channels-first, which costs much where maps do not.
        squeezed = maps.sum(dim=(2, 3), keepdim=True) / (maps.shape[2] * maps.shape[3])
        scales: Tensor = self.gate(self.expand(self.activation(self.reduce(squeezed))))
        return scales
