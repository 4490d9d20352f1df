"""ZFNet. Zeiler and Fergus 2013, arXiv:1311.2901, Figure 3; and the wider one of its Table 2.

AlexNet in one tower, re-tuned after looking at its features: smaller first filters at a smaller stride. The figure
gives sizes, no padding; the paddings and the rounding here are those that lead to its 110, 55, 26, 13 and 6 (which are
from memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import nn

from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.initialisation import gaussian
from fovea.layers.local_response_norm import LocalResponseNorm
from fovea.layers.side import side_after


class Row(NamedTuple):
    """One convolution with its ReLU, and what follows it."""

    channels: int
    kernel: int
    stride: int
    padding: int
    pool: bool = False  # maximum over 3×3 at stride 2, the last window may hang over the edge
    norm: bool = False  # contrast normalisation across feature maps, behind the pooling


# fmt: off
FIGURE_3 = (
    Row( 96, kernel=7, stride=2, padding=1, pool=True,  norm=True),    # 224 → 110 → 55
    Row(256, kernel=5, stride=2, padding=0, pool=True,  norm=True),    #  55 →  26 → 13
    Row(384, kernel=3, stride=1, padding=1),                           #  13
    Row(384, kernel=3, stride=1, padding=1),                           #  13
    Row(256, kernel=3, stride=1, padding=1, pool=True),                #  13 →   6
)
# fmt: on
UNITS = (4096, 4096)
DROPOUT = 0.5
STD = 0.01


def zfnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    widths: Sequence[int] = (384, 384, 256),
    stem: Literal["paper", "small"] = "paper",
) -> ConvNet:
    """ZFNet of Figure 3, or a wider one.

    The paper's contrast normalisation is taken as AlexNet's local response normalisation with its constants, which the
    paper does not give. It says that all weights start at 0.01; equal, they would never part, so here they are drawn
    from a Gaussian of 0.01, as AlexNet's, biases at zero. The limit of 0.1 on each filter's root mean square belongs to
    training.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the square images in pixels; the fully connected layers belong to it.
        widths: Maps of the layers 3, 4 and 5; (512, 1024, 512) is the wide network of Table 2.
        stem: "paper", or "small" for 28 to 64 pixels: conv1 is 3×3 at stride 1, conv2 at stride 1, both padded to keep
            the size. The three poolings stay, since the first fully connected layer grows with what they leave.

    Raises:
        ShapeError: nothing is left of an image of this size.
        UsageError: widths are not three numbers of 1 or more, or there is no such stem.
    """
    if len(widths) != 3 or min(widths) < 1:
        raise UsageError(f"widths (={tuple(widths)}) must be three numbers, 1 or more: the maps of layers 3, 4 and 5")
    if stem not in ("paper", "small"):
        raise UsageError(f"stem (={stem!r}) must be 'paper' or 'small'")
    rows = [*FIGURE_3[:2], *(row._replace(channels=n) for row, n in zip(FIGURE_3[2:], widths, strict=True))]
    if stem == "small":
        rows[0] = rows[0]._replace(kernel=3, stride=1, padding=1)
        rows[1] = rows[1]._replace(stride=1, padding=2)
    stages = _stages(rows, in_channels)
    head: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for n, (features, units) in enumerate(
        pairwise((widths[-1] * side_after(stages, image_size) ** 2, *UNITS)), start=6
    ):
        head[f"fc{n}"] = nn.Sequential(nn.Linear(features, units), nn.ReLU(), nn.Dropout(DROPOUT))
    head["output"] = nn.Linear(UNITS[-1], num_classes)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=gaussian(STD))


def _stages(rows: Sequence[Row], in_channels: int) -> dict[str, nn.Module]:
    stages: dict[str, nn.Module] = {}
    channels = in_channels
    for n, row in enumerate(rows, start=1):
        conv = nn.Conv2d(channels, row.channels, row.kernel, row.stride, row.padding)
        stages[f"conv{n}"] = nn.Sequential(conv, nn.ReLU())
        if row.pool:
            stages[f"pool{n}"] = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        if row.norm:
            stages[f"norm{n}"] = LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
        channels = row.channels
    return stages
