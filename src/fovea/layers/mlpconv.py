"""The mlpconv layer: a small network slides over the image instead of one linear filter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from fovea.errors import ShapeError


class MlpConv(nn.Sequential):
    """A convolution and then 1×1 convolutions, a ReLU behind each: a multilayer perceptron at every position.

    Args:
        in_channels: Channels of the input.
        channels: Outputs of the convolution and of each 1×1 convolution behind it.
        kernel_size: Side of the first one's kernel, in pixels.
        stride: Its step, in pixels.
        padding: Zeros on each side before it, in pixels.

    Raises:
        ShapeError: no channels, or a number of channels below 1.

    Source: Lin, Chen and Yan 2013, arXiv:1312.4400, section 3.1.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], kernel_size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        if not channels or min(channels) < 1:
            raise ShapeError(f"channels (={tuple(channels)}) must be one number or more, each 1 or more")
        convolutions: list[nn.Module] = [
            nn.Conv2d(in_channels, channels[0], kernel_size, stride=stride, padding=padding),
            *(nn.Conv2d(before, after, 1) for before, after in pairwise(channels)),
        ]
        super().__init__(*(part for convolution in convolutions for part in (convolution, nn.ReLU())))

    @property
    def convolutions(self) -> list[nn.Conv2d]:
        """The convolutions in order, the spatial one first."""
        return [part for part in self if isinstance(part, nn.Conv2d)]
