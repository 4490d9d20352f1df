"""The inverted residual: wide inside, thin and linear at both ends, where the shortcut runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import ShapeError
from fovea.layers.mobile_unit import Style, unit
from fovea.layers.squeeze_excitation import SqueezeExcitation
from fovea.layers.stochastic_depth import StochasticDepth


class Row(NamedTuple):
    """A line of a paper's table: a stage of equal inverted residuals, of which the first alone has the stride.

    Args:
        expand: How many times wider the inside is than the input (t); 1 has no expansion.
        channels: Channels of the output (c).
        layers: Number of blocks (n).
        stride: Step of the first block, in pixels (s).
        kernel: Side of the depthwise kernel.
        squeeze: Hidden units of squeeze-and-excitation over the block's input channels; 0 has none.
        skip: Whether there is a shortcut where shapes allow it.
    """

    expand: int
    channels: int
    layers: int = 1
    stride: int = 1
    kernel: int = 3
    squeeze: float = 0.0
    skip: bool = True


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, squeeze-and-excitation where the row has it, project 1×1 without activation.

    The shortcut runs where stride and channels leave the shape as it is. With expand=1 there is no expansion.

    Args:
        in_channels: Channels of the input.
        row: Everything else; its `layers` say how many blocks a stage has, and count for nothing here.
        survival: Probability with which the branch of an image is kept while training, where there is a shortcut.
        style: Activation, padding and normalisation of all convolutions.

    Raises:
        ShapeError: expand, stride, kernel or channels is below 1, or squeeze is negative.

    Sources: Sandler et al. 2018, arXiv:1801.04381, section 3.3; with squeeze-and-excitation behind the depthwise
    convolution Tan et al. 2019, arXiv:1807.11626, Figure 7.
    """

    def __init__(
        self,
        in_channels: int,
        row: Row,
        *,
        survival: float = 1.0,
        style: Style = Style(),  # noqa: B008  # immutable
    ) -> None:
        super().__init__()
        _check(row)
        inside = in_channels * row.expand
        parts: dict[str, nn.Module] = {}
        if row.expand > 1:
            parts["expand"] = unit(in_channels, inside, 1, style=style)
        parts["depthwise"] = unit(inside, inside, row.kernel, stride=row.stride, groups=inside, style=style)
        if row.squeeze:
            hidden = max(1, int(in_channels * row.squeeze))
            parts["squeeze"] = SqueezeExcitation(inside, hidden, activation=style.activation or nn.ReLU)
        parts["project"] = unit(inside, row.channels, 1, style=style.linear())
        self.branch = nn.Sequential(OrderedDict(parts))
        self.skip = row.skip and row.stride == 1 and in_channels == row.channels
        self.depth = StochasticDepth(survival if self.skip else 1.0)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The branch, and the input added where there is a shortcut."""
        branch: Tensor = self.branch(maps)
        return maps + self.depth(branch) if self.skip else branch


def inverted_residuals(
    in_channels: int,
    row: Row,
    *,
    survivals: Sequence[float] = (),
    style: Style = Style(),  # noqa: B008  # immutable
) -> nn.Sequential:
    """The stage that a row describes.

    Args:
        in_channels: Channels of its input.
        row: The line of the table.
        survivals: The probability of each block, for stochastic depth; 1 for all where there are none.
        style: Activation, padding and normalisation of all convolutions.
    """
    blocks: list[nn.Module] = []
    for survival in survivals or (1.0,) * row.layers:
        blocks.append(InvertedResidual(in_channels, row, survival=survival, style=style))
        in_channels, row = row.channels, row._replace(stride=1)
    return nn.Sequential(*blocks)


def _check(row: Row) -> None:
    for name in ("expand", "channels", "stride", "kernel"):
        if getattr(row, name) < 1:
            raise ShapeError(f"{name} (={getattr(row, name)}) of an inverted residual must be 1 or more")
    if row.squeeze < 0:
        raise ShapeError(f"squeeze (={row.squeeze}) must be 0, or a share of the input channels")
