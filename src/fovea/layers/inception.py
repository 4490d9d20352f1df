"""The Inception module of GoogLeNet, and the naive one that its paper starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from fovea.errors import ShapeError
from fovea.layers.branches import Branches

Unit = Callable[[int, int, int], nn.Module]  # in_channels, out_channels, kernel: a convolution with its nonlinearity


class Filters(NamedTuple):
    """A row of the paper's Table 1: how many filters each convolution of a module has."""

    one: int  # the branch of 1×1
    three_reduce: int  # 1×1 before the 3×3
    three: int
    five_reduce: int  # 1×1 before the 5×5
    five: int
    projection: int  # 1×1 after the pooling

    @property
    def out_channels(self) -> int:
        """Channels that leave the module."""
        return self.one + self.three + self.five + self.projection


def rectified(in_channels: int, out_channels: int, kernel: int) -> nn.Sequential:
    """A convolution with bias that keeps the size, and a ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2), nn.ReLU())


class InceptionModule(Branches):
    """1×1, 3×3, 5×5 and pooling side by side, with 1×1 convolutions that reduce the channels before the large kernels.

    Args:
        in_channels: Channels of the input.
        filters: How many filters each convolution has.
        unit: Makes each convolution with its nonlinearity.
        large_kernel: Side of the largest kernel; the paper's is 5.

    Raises:
        ShapeError: in_channels or a number of filters is below 1, or large_kernel is even.

    Source: Szegedy et al. 2014, arXiv:1409.4842, Figure 2(b) and Table 1.
    """

    def __init__(self, in_channels: int, filters: Filters, *, unit: Unit = rectified, large_kernel: int = 5) -> None:
        _check(in_channels, filters, large_kernel)
        super().__init__(
            {
                "one": unit(in_channels, filters.one, 1),
                "three": nn.Sequential(
                    unit(in_channels, filters.three_reduce, 1), unit(filters.three_reduce, filters.three, 3)
                ),
                "five": nn.Sequential(
                    unit(in_channels, filters.five_reduce, 1), unit(filters.five_reduce, filters.five, large_kernel)
                ),
                "pool": nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), unit(in_channels, filters.projection, 1)),
            }
        )


class NaiveInceptionModule(Branches):
    """1×1, 3×3, 5×5 and pooling side by side, without reductions: the pooled input passes whole.

    So the channels can only grow from module to module, and each large kernel sees all of them.

    Args:
        in_channels: Channels of the input; as many leave the pooling.
        one, three, five: Filters of each branch.
        unit: Makes each convolution with its nonlinearity.

    Raises:
        ShapeError: a number of channels or filters is below 1.

    Source: Szegedy et al. 2014, arXiv:1409.4842, Figure 2(a).
    """

    def __init__(self, in_channels: int, *, one: int, three: int, five: int, unit: Unit = rectified) -> None:
        _check(in_channels, (one, three, five), 5)
        super().__init__(
            {
                "one": unit(in_channels, one, 1),
                "three": unit(in_channels, three, 3),
                "five": unit(in_channels, five, 5),
                "pool": nn.MaxPool2d(3, stride=1, padding=1),
            }
        )


def _check(in_channels: int, filters: tuple[int, ...], large_kernel: int) -> None:
    if in_channels < 1:
        raise ShapeError(f"in_channels (={in_channels}) must be 1 or more")
    if min(filters) < 1:
        raise ShapeError(f"every number of filters must be 1 or more, not {tuple(filters)}")
    if large_kernel < 1 or large_kernel % 2 == 0:
        raise ShapeError(f"large_kernel (={large_kernel}) must be odd, so that the maps keep their size")
