"""The unit of the mobile networks: convolution, batch normalisation, activation, in one of two paddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from fovea.layers.conv_norm import ConvNorm
from fovea.layers.same_padding import SamePadConv2d

Padding = Literal["symmetric", "same"]


class Style(NamedTuple):
    """What all units of one network share.

    Args:
        activation: Makes the nonlinearity; None for a linear unit.
        padding: "symmetric" is half the kernel on each side; "same" is TensorFlow's, which at stride 2 may pad the
            bottom and the right alone: the sizes are equal, the logits are not.
        eps: What the normalisation adds to the variance.
        momentum: Share of a batch's statistics in the running ones.
    """

    activation: Callable[[], nn.Module] | None = nn.ReLU
    padding: Padding = "symmetric"
    eps: float = 1e-5
    momentum: float = 0.1

    def linear(self) -> Style:
        """The same without an activation."""
        return self._replace(activation=None)


def unit(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    style: Style = Style(),  # noqa: B008  # immutable
) -> ConvNorm:
    """A convolution without bias, batch normalisation and an activation, as the style has them.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the kernel, odd.
        stride: Step of the kernel, in pixels of the input.
        groups: Into how many parts the channels are cut; as many as `in_channels` makes it depthwise.
        style: What all units of the network share.

    Raises:
        ShapeError: the channels cannot be divided by groups.
    """
    shape = (in_channels, out_channels, kernel_size)
    made = ConvNorm(
        *shape, stride=stride, groups=groups, eps=style.eps, momentum=style.momentum, activation=style.activation
    )
    if style.padding == "same":
        made.conv = SamePadConv2d(*shape, stride=stride, groups=groups, bias=False)
    return made
