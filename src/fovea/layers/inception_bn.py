"""The modules of BN-Inception: batch-normalised, two 3×3 in place of the 5×5, some that halve the maps themselves."""

from __future__ import annotations

from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ShapeError
from fovea.layers.branches import Branches
from fovea.layers.conv_norm import ConvNorm


class Row(NamedTuple):
    """A row of the paper's Figure 5; a zero says that there is no such branch, or no projection behind the pooling."""

    one: int  # the branch of 1×1
    three_reduce: int  # 1×1 before the 3×3
    three: int
    double_reduce: int  # 1×1 before the two 3×3
    double: int  # filters of each of the two
    pool: Literal["avg", "max"]
    projection: int  # 1×1 after the pooling; 0 passes the input's channels on
    stride: int = 1

    def out_channels(self, in_channels: int) -> int:
        """Channels that leave the module."""
        return self.one + self.three + self.double + (self.projection or in_channels)


class HalvingMaxPool(nn.Module):
    """Maximum over 3×3 at stride 2; what leaves is half the side, rounded up, as from a padded convolution.

    An even side is pooled from its first pixel, the last window hanging over (Caffe's way); an odd one is padded.
    """

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c i j"]:
        """The maxima."""
        height, width = maps.shape[-2:]
        return F.max_pool2d(maps, 3, stride=2, padding=(height % 2, width % 2), ceil_mode=True)


class NormalisedInceptionModule(Branches):
    """1×1, 3×3, two 3×3, and pooling side by side, each convolution batch-normalised; at stride 2 the maps are halved.

    Args:
        in_channels: Channels of the input.
        row: The numbers of filters, the kind of pooling, the stride.

    Raises:
        ShapeError: a number of filters is negative, a 3×3 is missing, or at stride 2 a branch cannot halve.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, Figure 5.
    """

    def __init__(self, in_channels: int, row: Row) -> None:
        _check(in_channels, row)
        branches: dict[str, nn.Module] = {}
        if row.one:
            branches["one"] = ConvNorm(in_channels, row.one, 1)
        branches["three"] = nn.Sequential(
            ConvNorm(in_channels, row.three_reduce, 1), ConvNorm(row.three_reduce, row.three, 3, stride=row.stride)
        )
        branches["three_three"] = nn.Sequential(
            ConvNorm(in_channels, row.double_reduce, 1),
            ConvNorm(row.double_reduce, row.double, 3),
            ConvNorm(row.double, row.double, 3, stride=row.stride),
        )
        branches["pool"] = _pooling(row)
        if row.projection:
            branches["pool"] = nn.Sequential(branches["pool"], ConvNorm(in_channels, row.projection, 1))
        super().__init__(branches)


def _pooling(row: Row) -> nn.Module:
    if row.stride == 2:
        return HalvingMaxPool()
    return nn.AvgPool2d(3, stride=1, padding=1) if row.pool == "avg" else nn.MaxPool2d(3, stride=1, padding=1)


def _check(in_channels: int, row: Row) -> None:
    if in_channels < 1:
        raise ShapeError(f"in_channels (={in_channels}) must be 1 or more")
    if min(row.three_reduce, row.three, row.double_reduce, row.double) < 1 or min(row.one, row.projection) < 0:
        raise ShapeError(f"the 3×3 branches need 1 filter or more, and no branch less than 0: {row}")
    if row.stride not in (1, 2):
        raise ShapeError(f"stride (={row.stride}) must be 1 or 2")
    if row.stride == 2 and (row.one or row.pool != "max"):
        raise ShapeError(f"at stride 2 there is no 1×1 branch, and the pooling is the maximum: {row}")
