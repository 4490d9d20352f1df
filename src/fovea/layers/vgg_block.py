"""Stacked small convolutions: two of 3×3 see what one of 5×5 sees, three what one of 7×7 sees, with fewer weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fovea.errors import ShapeError


class VGGBlock(nn.Sequential):
    """Convolutions that keep the size, each with a ReLU behind it; the first changes the number of channels.

    Three of 3×3 on C channels have 27 C² weights and three nonlinearities; one of 7×7 has 49 C² and one.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of every convolution's output.
        kernels: The side of each convolution's kernel, in order.
        normalised: Put batch normalisation between each convolution and its ReLU. The convolutions keep their biases,
            which the normalisation cancels: so it is in the libraries' networks; the paper has no such form.

    Raises:
        ShapeError: there is no kernel, or one is even or below 1.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556, section 2.3.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernels: Sequence[int], *, normalised: bool = False
    ) -> None:
        if not kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ShapeError(f"kernels (={tuple(kernels)}) must be one or more odd numbers, so that the size is kept")
        parts: dict[str, nn.Module] = {}
        channels = in_channels
        for n, kernel in enumerate(kernels, start=1):
            parts[f"conv{n}"] = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
            if normalised:
                parts[f"norm{n}"] = nn.BatchNorm2d(out_channels)
            parts[f"relu{n}"] = nn.ReLU()
            channels = out_channels
        super().__init__(OrderedDict(parts))
