"""MnasNet. Tan et al. 2019, arXiv:1807.11626: A1, Figure 7, and B1, found without squeeze-and-excitation.

B1's table is that of the published code, since the paper only names it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from fovea.architectures.mobile import Stem, Table, check_options, fan_out, pooled_linear, scaled_table, stages
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.inverted_residual import Row
from fovea.layers.mobile_unit import Padding, Style

# fmt: off
TABLES = {
    "a1": Table(first=32, rows=(
        Row(expand=1, kernel=3, stride=1, channels= 16, layers=1, skip=False),      # SepConv
        Row(expand=6, kernel=3, stride=2, channels= 24, layers=2),
        Row(expand=3, kernel=5, stride=2, channels= 40, layers=3, squeeze=0.25),
        Row(expand=6, kernel=3, stride=2, channels= 80, layers=4),
        Row(expand=6, kernel=3, stride=1, channels=112, layers=2, squeeze=0.25),
        Row(expand=6, kernel=5, stride=2, channels=160, layers=3, squeeze=0.25),
        Row(expand=6, kernel=3, stride=1, channels=320, layers=1),
    ), last=1280),
    "b1": Table(first=32, rows=(
        Row(expand=1, kernel=3, stride=1, channels= 16, layers=1, skip=False),      # SepConv
        Row(expand=3, kernel=3, stride=2, channels= 24, layers=3),
        Row(expand=3, kernel=5, stride=2, channels= 40, layers=3),
        Row(expand=6, kernel=5, stride=2, channels= 80, layers=3),
        Row(expand=6, kernel=3, stride=1, channels= 96, layers=2),
        Row(expand=6, kernel=5, stride=2, channels=192, layers=4),
        Row(expand=6, kernel=3, stride=1, channels=320, layers=1, skip=False),
    ), last=1280),
}
# fmt: on
NAMES = ("conv", *(f"block{n}" for n in range(1, 8)), "conv_last")


def mnasnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    model: Literal["a1", "b1"] = "a1",
    width: float = 1.0,
    padding: Padding = "symmetric",
    stem: Stem = "paper",
    dropout: float = 0.2,
    eps: float = 1e-3,
    momentum: float = 0.01,
) -> ConvNet:
    """MnasNet-A1 or -B1, at any width.

    Initialisation, normalisation and squeeze-and-excitation (a quarter of the block's input channels, with ReLU) are
    the published code's (TensorFlow TPU models), which pads as "same".

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; 32 or more, with the small stem 16 or more.
        model: Which of the two tables.
        width: The depth multiplier of the paper: factor on all channels but the last convolution's 1280, rounded to
            multiples of 8.
        padding: Half the kernel on each side, or TensorFlow's.
        stem: "small", for 28 to 64 pixels, begins with stride 1.
        dropout: Share of the features set to zero before the output.
        eps: What batch normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones.

    Raises:
        UsageError: an option that makes no network.
        ShapeError: image_size is below the network's stride.
    """
    check_options(image_size, padding=padding, stem=stem, dropout=dropout)
    if model not in TABLES:
        raise UsageError(f"model (={model!r}) must be {' or '.join(map(repr, TABLES))}")
    table = scaled_table(TABLES[model], width=width)._replace(last=TABLES[model].last)
    return ConvNet(
        stages(table, NAMES, in_channels, stem=stem, style=Style(nn.ReLU, padding, eps, momentum)),
        head=pooled_linear(table.last, num_classes, dropout=dropout),
        in_channels=in_channels,
        scheme=fan_out,
    )
