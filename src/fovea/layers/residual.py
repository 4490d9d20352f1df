"""Residual blocks: a branch learns what to add to its input. And the same layers without the addition."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from fovea.layers.batch_norm import ZeroGammaBatchNorm2d
from fovea.layers.conv_norm import ConvNorm
from fovea.layers.shortcut import shortcut as path


class Residual(nn.Module):
    """The rectified sum of a branch and a shortcut.

    Args:
        branch: What is learned; its output has the shape of the shortcut's.
        shortcut: The path round it, such as `shortcut.shortcut` makes.
        out_channels: Channels of both.

    Source: He et al. 2015, arXiv:1512.03385, section 3.2, equations 1 and 2.
    """

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.activation = nn.ReLU()
        self.out_channels = out_channels

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """The block's output, at least 0."""
        output: Tensor = self.activation(self.branch(maps) + self.shortcut(maps))
        return output


class PlainBlock(nn.Sequential):
    """Two 3×3 convolutions, each normalised and rectified: a basic block without its shortcut.

    Args:
        in_channels: Channels of the input.
        width: Channels of both convolutions, and of the output.
        stride: Step of the first convolution, in pixels of the input.

    Source: He et al. 2015, arXiv:1512.03385, section 3.3, "Plain Network".
    """

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, width: int, *, stride: int = 1) -> None:
        layers = {"conv1": ConvNorm(in_channels, width, 3, stride=stride), "conv2": ConvNorm(width, width, 3)}
        super().__init__(OrderedDict(layers))
        self.out_channels = width


class BasicBlock(Residual):
    """Two 3×3 convolutions and a shortcut round them.

    Args:
        in_channels: Channels of the input.
        width: Channels of both convolutions, and of the output.
        stride: Step of the first convolution, in pixels of the input.
        shortcut: Option A, B or C of the paper; see `shortcut.shortcut`.

    Source: He et al. 2015, arXiv:1512.03385, Figure 5, left.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, width: int, *, stride: int = 1, shortcut: str = "B") -> None:
        layers = {
            "conv1": ConvNorm(in_channels, width, 3, stride=stride),
            "conv2": ConvNorm(width, width, 3, activation=None),
        }
        round_it = path(shortcut, in_channels, width, stride=stride)
        super().__init__(nn.Sequential(OrderedDict(layers)), round_it, width)


class Bottleneck(Residual):
    """A 1×1 convolution that narrows, a 3×3, a 1×1 that widens, and a shortcut round them.

    Args:
        in_channels: Channels of the input.
        width: Channels of the first two convolutions; the output has `expansion` times as many.
        stride: Step of the block, in pixels of the input.
        shortcut: Option A, B or C of the paper; see `shortcut.shortcut`.
        stride_in_first: Whether the first 1×1 takes the step, as the authors' networks have it, or the 3×3, as in
            Facebook's code ("v1.5").
        groups: Into how many parts the 3×3's channels are cut.

    Source: He et al. 2015, arXiv:1512.03385, Figure 5, right; groups: Xie et al. 2017, arXiv:1611.05431.
    """

    expansion: ClassVar[int] = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int = 1,
        shortcut: str = "B",
        stride_in_first: bool = True,
        groups: int = 1,
    ) -> None:
        out_channels = width * self.expansion
        first, second = (stride, 1) if stride_in_first else (1, stride)
        layers = {
            "conv1": ConvNorm(in_channels, width, 1, stride=first),
            "conv2": ConvNorm(width, width, 3, stride=second, groups=groups),
            "conv3": ConvNorm(width, out_channels, 1, activation=None),
        }
        round_it = path(shortcut, in_channels, out_channels, stride=stride)
        super().__init__(nn.Sequential(OrderedDict(layers)), round_it, out_channels)


class ResNeXtBottleneck(Bottleneck):
    """A bottleneck that widens by 2, for grouped 3×3 convolutions of twice the width: ResNeXt's.

    Source: Xie et al. 2017, arXiv:1611.05431, Table 1.
    """

    expansion: ClassVar[int] = 2


def zero_last_gammas(network: nn.Module) -> None:
    """Let the last normalisation of every residual branch start with gain 0, so that every block starts as identity.

    Source: Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """
    for block in network.modules():
        if isinstance(block, Residual):
            last = [layer for layer in block.branch.modules() if isinstance(layer, nn.BatchNorm2d)][-1]
            last.__class__ = ZeroGammaBatchNorm2d  # the same layer with another start
            last.reset_parameters()
