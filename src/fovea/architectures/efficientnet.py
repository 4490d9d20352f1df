"""EfficientNet. Tan and Le 2019, arXiv:1905.11946, Table 1 (B0), and compound scaling (section 3.3) up to B7.

The factors of B1 to B7 are those of the published code, which rounds them by hand:

            B0    B1    B2    B3    B4    B5    B6    B7
width      1.0   1.0   1.1   1.2   1.4   1.6   1.8   2.0
depth      1.0   1.1   1.2   1.4   1.8   2.2   2.6   3.1
resolution 224   240   260   300   380   456   528   600
dropout    0.2   0.2   0.3   0.3   0.4   0.4   0.5   0.5
"""

from __future__ import annotations

from torch import nn

from fovea.architectures.mobile import Stem, Table, check_options, fan_out, pooled_linear, scaled_table, stages
from fovea.architectures.scaling import compound
from fovea.errors import UsageError
from fovea.layers.convnet import ConvNet
from fovea.layers.inverted_residual import Row
from fovea.layers.mobile_unit import Padding, Style

# fmt: off
BASELINE = Table(
    first=32,                                                                           # stage 1
    rows=(
        Row(expand=1, kernel=3, stride=1, channels= 16, layers=1, squeeze=0.25),        # stage 2: MBConv1, k3×3
        Row(expand=6, kernel=3, stride=2, channels= 24, layers=2, squeeze=0.25),        #       3: MBConv6, k3×3
        Row(expand=6, kernel=5, stride=2, channels= 40, layers=2, squeeze=0.25),        #       4: MBConv6, k5×5
        Row(expand=6, kernel=3, stride=2, channels= 80, layers=3, squeeze=0.25),        #       5: MBConv6, k3×3
        Row(expand=6, kernel=5, stride=1, channels=112, layers=3, squeeze=0.25),        #       6: MBConv6, k5×5
        Row(expand=6, kernel=5, stride=2, channels=192, layers=4, squeeze=0.25),        #       7: MBConv6, k5×5
        Row(expand=6, kernel=3, stride=1, channels=320, layers=1, squeeze=0.25),        #       8: MBConv6, k3×3
    ),
    last=1280,                                                                          # stage 9, with the head
)
# fmt: on
NAMES = tuple(f"stage{n}" for n in range(1, 10))


def efficientnet(
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int = 224,
    phi: float | None = None,
    width: float = 1.0,
    depth: float = 1.0,
    padding: Padding = "symmetric",
    stem: Stem = "paper",
    dropout: float = 0.2,
    survival: float = 0.8,
    eps: float = 1e-3,
    momentum: float = 0.01,
) -> ConvNet:
    """EfficientNet-B0 scaled by phi, or by width and depth.

    Initialisation, normalisation and the rounding are the published code's (TensorFlow TPU models), which pads as
    "same". Squeeze-and-excitation has a quarter of the block's input channels, and SiLU.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Side of the images in pixels; 32 or more, with the small stem 16 or more.
            `compound(phi).resolution` says how much finer than 224 they should be.
        phi: The compound coefficient: depth 1.2^phi, width 1.1^phi, in place of the two.
        width: Factor on all channels, rounded to multiples of 8.
        depth: Factor on the layers of each stage, rounded up.
        padding: Half the kernel on each side, or TensorFlow's.
        stem: "small", for 28 to 64 pixels, begins with stride 1.
        dropout: Share of the features set to zero before the output.
        survival: Stochastic depth: the probability of a block's branch falls linearly with depth, from 1 to this.
        eps: What batch normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones.

    Raises:
        UsageError: an option that makes no network.
        ShapeError: image_size is below the network's stride.
    """
    check_options(image_size, padding=padding, stem=stem, dropout=dropout, survival=survival)
    if phi is not None:
        if (width, depth) != (1, 1):
            raise UsageError(
                f"phi (={phi}) is a width and a depth of its own, and these are given (={width}, {depth}); "
                "leave phi out, or scale efficientnet_b0 by it"
            )
        width, depth, _ = compound(phi)
    table = scaled_table(BASELINE, width=width, depth=depth)
    style = Style(nn.SiLU, padding, eps, momentum)
    return ConvNet(
        stages(table, NAMES, in_channels, stem=stem, style=style, survival=survival),
        head=pooled_linear(table.last, num_classes, dropout=dropout),
        in_channels=in_channels,
        scheme=fan_out,
    )
