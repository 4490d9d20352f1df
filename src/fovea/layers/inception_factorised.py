"""The modules of Inception v3: large kernels factorised into small or flat ones, and grid reductions.

The letters are those of the released code's readers; the figures are the paper's. Everywhere convolutions are
batch-normalised with an epsilon of 0.001, and pooling branches take the mean over 3×3 with the border's zeros counted.
"""

from __future__ import annotations

import functools

from torch import nn

from fovea.errors import ShapeError
from fovea.layers.branches import Branches
from fovea.layers.conv_norm import ConvNorm

EPS = 1e-3
unit = functools.partial(ConvNorm, eps=EPS)  # in_channels, out_channels, kernel
ROW, COLUMN = (1, 7), (7, 1)  # a 7×7 kernel's two factors


class InceptionA(Branches):
    """1×1, 5×5, two 3×3, and mean pooling with a projection; for maps of about 35×35.

    The paper's Figure 5 has two 3×3 where the released code, followed here, still has a 5×5.

    Args:
        in_channels: Channels of the input.
        projection: Filters behind the pooling.

    Source: Szegedy et al. 2015, arXiv:1512.00567, Figure 5, and the released code.
    """

    def __init__(self, in_channels: int, projection: int) -> None:
        _positive(in_channels=in_channels, projection=projection)
        super().__init__(
            {
                "one": unit(in_channels, 64, 1),
                "five": nn.Sequential(unit(in_channels, 48, 1), unit(48, 64, 5)),
                "three_three": nn.Sequential(unit(in_channels, 64, 1), unit(64, 96, 3), unit(96, 96, 3)),
                "pool": _mean_projected(in_channels, projection),
            }
        )
        self.out_channels = 64 + 64 + 96 + projection


class InceptionB(Branches):
    """Grid reduction from about 35×35 to 17×17: convolutions and pooling of stride 2 side by side.

    Neither a bottleneck, as pooling first would be, nor the cost of pooling last.

    Args:
        in_channels: Channels of the input, which the pooling passes on.

    Source: Szegedy et al. 2015, arXiv:1512.00567, section 5 and Figure 10.
    """

    def __init__(self, in_channels: int) -> None:
        _positive(in_channels=in_channels)
        super().__init__(
            {
                "three": _halving(in_channels, 384),
                "three_three": nn.Sequential(unit(in_channels, 64, 1), unit(64, 96, 3), _halving(96, 96)),
                "pool": nn.MaxPool2d(3, stride=2),
            }
        )
        self.out_channels = 384 + 96 + in_channels


class InceptionC(Branches):
    """7×7 kernels as 1×7 and 7×1, once and twice, beside 1×1 and pooling; for maps of about 17×17.

    Args:
        in_channels: Channels of the input.
        width: Filters within the factorised branches.

    Source: Szegedy et al. 2015, arXiv:1512.00567, section 3.2 and Figure 6 with n = 7.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        _positive(in_channels=in_channels, width=width)
        super().__init__(
            {
                "one": unit(in_channels, 192, 1),
                "seven": nn.Sequential(unit(in_channels, width, 1), unit(width, width, ROW), unit(width, 192, COLUMN)),
                "seven_seven": nn.Sequential(
                    unit(in_channels, width, 1),
                    unit(width, width, COLUMN),
                    unit(width, width, ROW),
                    unit(width, width, COLUMN),
                    unit(width, 192, ROW),
                ),
                "pool": _mean_projected(in_channels, 192),
            }
        )
        self.out_channels = 4 * 192


class InceptionD(Branches):
    """Grid reduction from about 17×17 to 8×8.

    Args:
        in_channels: Channels of the input, which the pooling passes on.

    Source: Szegedy et al. 2015, arXiv:1512.00567, section 5; the branches are the released code's.
    """

    def __init__(self, in_channels: int) -> None:
        _positive(in_channels=in_channels)
        super().__init__(
            {
                "three": nn.Sequential(unit(in_channels, 192, 1), _halving(192, 320)),
                "seven": nn.Sequential(
                    unit(in_channels, 192, 1), unit(192, 192, ROW), unit(192, 192, COLUMN), _halving(192, 192)
                ),
                "pool": nn.MaxPool2d(3, stride=2),
            }
        )
        self.out_channels = 320 + 192 + in_channels


class InceptionE(Branches):
    """1×3 and 3×1 side by side, to widen the representation where the maps are coarsest, about 8×8.

    Args:
        in_channels: Channels of the input.

    Source: Szegedy et al. 2015, arXiv:1512.00567, Figure 7.
    """

    def __init__(self, in_channels: int) -> None:
        _positive(in_channels=in_channels)
        super().__init__(
            {
                "one": unit(in_channels, 320, 1),
                "three": nn.Sequential(unit(in_channels, 384, 1), _forked()),
                "three_three": nn.Sequential(unit(in_channels, 448, 1), unit(448, 384, 3), _forked()),
                "pool": _mean_projected(in_channels, 192),
            }
        )
        self.out_channels = 320 + 2 * 384 + 2 * 384 + 192


def _mean_projected(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), unit(in_channels, out_channels, 1))


def _halving(in_channels: int, out_channels: int) -> ConvNorm:
    return unit(in_channels, out_channels, 3, stride=2, padding=0)


def _forked() -> Branches:
    return Branches({"row": unit(384, 384, (1, 3)), "column": unit(384, 384, (3, 1))})


def _positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ShapeError(f"{name} (={number}) must be 1 or more")
