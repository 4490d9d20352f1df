"""MobileNet. Howard et al. 2017, arXiv:1704.04861, Table 1, with the width multiplier of its section 3.3.

Table 1 prints the last depthwise convolution with stride 2 and a 7×7 map on both sides of it: its stride is 1. The
resolution multiplier of section 3.4 is `image_size`, which is free.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from fovea.architectures.mobile import Stem, check_options, first_stride, pooled_linear
from fovea.architectures.scaling import make_divisible, scaled
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.depthwise_separable import DepthwiseSeparable
from fovea.layers.initialisation import Drawn
from fovea.layers.mobile_unit import Padding, Style, unit

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6}

# The published code's start: normal with deviation 0.09, cut at two deviations, whatever the fan-in; biases 0.
TRUNCATED_NORMAL = Drawn(nn.init.trunc_normal_, {"std": 0.09, "a": -0.18, "b": 0.18})


class SeparableRow(NamedTuple):
    """A stage of depthwise separable convolutions, of which the first alone has the stride."""

    channels: int
    layers: int
    stride: int


FIRST = 32  # channels of the full convolution 3×3, stride 2
# fmt: off
ROWS = (                                                  # maps at 224 pixels
    SeparableRow(channels=  64, layers=1, stride=1),      # 112
    SeparableRow(channels= 128, layers=2, stride=2),      #  56
    SeparableRow(channels= 256, layers=2, stride=2),      #  28
    SeparableRow(channels= 512, layers=6, stride=2),      #  14
    SeparableRow(channels=1024, layers=2, stride=2),      #   7
)
# fmt: on


def mobilenet_v1(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    width: float = 1.0,
    depth: float = 1.0,
    activation: Literal["relu", "relu6"] = "relu",
    padding: Padding = "symmetric",
    stem: Stem = "paper",
    dropout: float = 0.001,
    eps: float = 1e-3,
    momentum: float = 3e-4,
) -> ConvNet:
    """MobileNet v1, at any width and depth.

    The paper says nothing of initialisation, normalisation's constants or dropout: those of its published code
    (TensorFlow models, slim). It has ReLU where that code has ReLU6, and that code pads as "same".

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; 32 or more, with the small stem 16 or more.
        width: The width multiplier, alpha: factor on all channels. (The code cuts fractions off where this rounds to
            multiples of 8; for the paper's 1, 0.75, 0.5 and 0.25 that is the same.)
        depth: Factor on the layers of each stage, as EfficientNet's Table 3 scales it (from memory).
        activation: The paper's, or the published code's "relu6".
        padding: Half the kernel on each side, or TensorFlow's.
        stem: "small", for 28 to 64 pixels, begins with stride 1.
        dropout: Share of the features set to zero before the output; the published code's.
        eps: What batch normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones; the published code's suits runs of 100,000 steps
            and more. Shorter runs want 0.1, or their evaluation sees the statistics of the start.

    Raises:
        UsageError: an option that makes no network.
        ShapeError: image_size is below the network's stride.
    """
    check_options(image_size, padding=padding, stem=stem, dropout=dropout)
    if activation not in ACTIVATIONS:
        raise UsageError(f"activation (={activation!r}) must be {' or '.join(map(repr, ACTIVATIONS))}")
    style = Style(ACTIVATIONS[activation], padding, eps, momentum)
    rows = scaled(ROWS, width=width, depth=depth)
    channels = FIRST if width == 1 else make_divisible(FIRST * width)
    stages: dict[str, nn.Module] = {"conv": unit(in_channels, channels, 3, stride=first_stride(stem), style=style)}
    for n, row in enumerate(rows, start=1):
        stages[f"separable{n}"] = _separables(channels, row, style)
        channels = row.channels
    head = pooled_linear(channels, num_classes, dropout=dropout)
    return ConvNet(stages, head=head, in_channels=in_channels, scheme=TRUNCATED_NORMAL)


def _separables(channels: int, row: SeparableRow, style: Style) -> nn.Sequential:
    widths = (channels, *(row.channels for _ in range(row.layers - 1)))
    strides = (row.stride, *(1 for _ in range(row.layers - 1)))
    return nn.Sequential(
        *(DepthwiseSeparable(c, row.channels, stride=s, style=style) for c, s in zip(widths, strides, strict=True))
    )
