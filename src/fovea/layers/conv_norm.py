"""Convolution, batch normalisation, activation: the unit that networks since 2015 are made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from fovea.errors import ShapeError


class ConvNorm(nn.Sequential):
    """A convolution without bias, batch normalisation in its stead, and an activation.

    The normalisation subtracts its mean, so that a bias of the convolution would be lost; its own shift replaces it.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, or (height, width).
        stride: Step of the kernel, in pixels of the input.
        padding: Zeros on each side; None is half the kernel, which keeps an odd kernel's output as large as its input
            (at stride 1 and dilation 1).
        groups: Into how many parts the channels are cut; as many as `in_channels` makes it depthwise.
        dilation: Distance between the kernel's weights, in pixels of the input.
        eps: What the normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones (torch's convention: 0.1 keeps 0.9 of the old).
        activation: Makes the nonlinearity; None for a linear unit.

    Raises:
        ShapeError: the channels cannot be divided by groups.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        dilation: int = 1,
        eps: float = 1e-5,
        momentum: float = 0.1,
        activation: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if groups < 1 or channels % groups:
                raise ShapeError(f"{name} (={channels}) must be divisible by groups (={groups})")
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            (height, width),
            stride=stride,
            padding=((height - 1) // 2, (width - 1) // 2) if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        parts: dict[str, nn.Module] = {"conv": conv, "norm": nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)}
        if activation is not None:
            parts["activation"] = activation()
        super().__init__(OrderedDict(parts))
