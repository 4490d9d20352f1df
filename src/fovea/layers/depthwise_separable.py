"""The depthwise separable convolution of MobileNet: space channel by channel, then channels pixel by pixel."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from fovea.layers.mobile_unit import Style, unit


class DepthwiseSeparable(nn.Sequential):
    """A depthwise k×k convolution and a pointwise 1×1 convolution, each with batch normalisation and activation.

    For c channels in, d channels out, it costs k²·c + c·d multiply-adds a pixel where a full convolution costs k²·c·d:
    a share of 1/d + 1/k², an eighth or a ninth at 3×3.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the depthwise kernel, odd.
        stride: Its step, in pixels.
        style: Activation, padding and normalisation of both.

    Source: Howard et al. 2017, arXiv:1704.04861, section 3.1, Figure 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        stride: int = 1,
        style: Style = Style(),  # noqa: B008  # immutable
    ) -> None:
        depthwise = unit(in_channels, in_channels, kernel_size, stride=stride, groups=in_channels, style=style)
        pointwise = unit(in_channels, out_channels, 1, style=style)
        super().__init__(OrderedDict(depthwise=depthwise, pointwise=pointwise))
