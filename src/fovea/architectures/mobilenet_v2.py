"""MobileNetV2. Sandler et al. 2018, arXiv:1801.04381, Table 2, with the width multiplier of its section 4.1."""

from __future__ import annotations

from torch import nn

from fovea.architectures.mobile import Stem, Table, check_options, pooled_linear, scaled_table, stages
from fovea.architectures.mobilenet_v1 import TRUNCATED_NORMAL
from fovea.layers.convnet import ConvNet
from fovea.layers.inverted_residual import Row
from fovea.layers.mobile_unit import Padding, Style

# fmt: off
TABLE = Table(
    first=32,
    rows=(#   t    c  n  s
        Row(1,  16, 1, 1),
        Row(6,  24, 2, 2),
        Row(6,  32, 3, 2),
        Row(6,  64, 4, 2),
        Row(6,  96, 3, 1),
        Row(6, 160, 3, 2),
        Row(6, 320, 1, 1),
    ),
    last=1280,
)
# fmt: on
NAMES = ("conv", *(f"bottleneck{n}" for n in range(1, 8)), "conv_last")


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    width: float = 1.0,
    depth: float = 1.0,
    padding: Padding = "symmetric",
    stem: Stem = "paper",
    dropout: float = 0.2,
    eps: float = 1e-3,
    momentum: float = 3e-3,
) -> ConvNet:
    """MobileNetV2, at any width and depth: ReLU6, and no activation behind a projection.

    The paper says nothing of initialisation, normalisation's constants or dropout: those of its published code
    (TensorFlow models, slim), which pads as "same".

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; 32 or more, with the small stem 16 or more.
        width: The width multiplier: factor on all channels, rounded to multiples of 8; the last convolution's alone is
            never below its 1280.
        depth: Factor on the layers of each stage, as EfficientNet's Table 3 scales it (from memory).
        padding: Half the kernel on each side, or TensorFlow's.
        stem: "small", for 28 to 64 pixels, begins with stride 1.
        dropout: Share of the features set to zero before the output.
        eps: What batch normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones; the published code's suits runs of 10,000 steps
            and more. Shorter runs want 0.1, or their evaluation sees the statistics of the start.

    Raises:
        UsageError: an option that makes no network.
        ShapeError: image_size is below the network's stride.
    """
    check_options(image_size, padding=padding, stem=stem, dropout=dropout)
    table = scaled_table(TABLE, width=width, depth=depth)
    table = table._replace(last=max(TABLE.last, table.last))
    style = Style(nn.ReLU6, padding, eps, momentum)
    return ConvNet(
        stages(table, NAMES, in_channels, stem=stem, style=style),
        head=pooled_linear(table.last, num_classes, dropout=dropout),
        in_channels=in_channels,
        scheme=TRUNCATED_NORMAL,
    )
