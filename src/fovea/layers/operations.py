"""The operations among which NASNet's and AmoebaNet's cells were searched, each by the name that genotypes use.

Every convolution is preceded by a ReLU and followed by batch normalisation, and all pad as TensorFlow's SAME does.
Source: Zoph et al. 2018, arXiv:1707.07012, section 3; Real et al. 2019, arXiv:1802.01548; their published code.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import UsageError, suggestion
from fovea.layers.same_padding import SameAvgPool2d, SameMaxPool2d, SamePadConv2d, same_padding

Norm = Callable[[int], nn.Module]  # makes a normalisation of so many channels
NONE = "none"  # the identity, the one operation that is never dropped


class Operation(Protocol):
    """Makes the module from some channels to others, at some stride."""

    def __call__(self, in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> nn.Module:
        """The module."""


class LineConv2d(nn.Conv2d):
    """A 1×k or k×1 convolution without bias that strides along its line alone, with TensorFlow's SAME padding.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: (1, k) or (k, 1).
        stride: Step along the line; across it every row or column is kept.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: tuple[int, int], *, stride: int = 1) -> None:
        steps = (stride if kernel_size[0] > 1 else 1, stride if kernel_size[1] > 1 else 1)
        super().__init__(in_channels, out_channels, kernel_size, stride=steps, bias=False)

    def forward(self, maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Feature maps at 1/stride of the resolution along the line, rounded up."""
        rows, columns = (
            same_padding(size, kernel, stride=stride)
            for size, kernel, stride in zip(maps.shape[2:], self.kernel_size, self.stride, strict=True)
        )
        return super().forward(F.pad(maps, (*columns, *rows)))


class StackedSeparable(nn.Sequential):
    """A depthwise separable convolution, applied twice: ReLU, depthwise, pointwise, normalisation; the first strides.

    Nothing stands between depthwise and pointwise convolution. The first changes the number of channels.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, norm: Norm) -> None:
        super().__init__()
        for name, channels, step in (("first", in_channels, stride), ("second", out_channels, 1)):
            depthwise = SamePadConv2d(channels, channels, kernel_size, stride=step, groups=channels, bias=False)
            pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)
            parts = {"relu": nn.ReLU(), "depthwise": depthwise, "pointwise": pointwise, "norm": norm(out_channels)}
            self.add_module(name, nn.Sequential(OrderedDict(parts)))


class Bottlenecked(nn.Sequential):
    """One or two dense convolutions between 1×1 convolutions that narrow and widen the channels.

    Where nothing would be left of the channels, the convolutions work on all of them, without the 1×1.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernels: The kernels' (height, width) in turn; lines stride along themselves.
        stride: Step in pixels of the input.
        norm: Makes the normalisation behind each convolution.
        dilation: Distance between the weights of a square kernel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernels: tuple[tuple[int, int], ...],
        stride: int,
        norm: Norm,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        # The code's widths: a quarter, but three eighths for the shortest pair of lines.
        inner = out_channels * 3 // 8 if (1, 3) in kernels else out_channels // 4
        width = inner or out_channels
        if inner:
            self.add_module("narrow", relu_conv_norm(in_channels, width, norm=norm))
            in_channels = width
        for height, across in kernels:
            conv: nn.Conv2d = (
                SamePadConv2d(in_channels, width, height, stride=stride, dilation=dilation, bias=False)
                if height == across
                else LineConv2d(in_channels, width, (height, across), stride=stride)
            )
            parts = {"relu": nn.ReLU(), "conv": conv, "norm": norm(width)}
            self.add_module(f"conv{height}x{across}", nn.Sequential(OrderedDict(parts)))
            in_channels = width
        if inner:
            self.add_module("widen", relu_conv_norm(width, out_channels, norm=norm))


class Pooling(nn.Sequential):
    """A pooling; behind it, where the channels change, a 1×1 convolution and normalisation, without a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        pool: type[SameAvgPool2d] | type[SameMaxPool2d],
        kernel_size: int,
        stride: int,
        norm: Norm,
    ) -> None:
        super().__init__(OrderedDict({"pool": pool(kernel_size, stride=stride)}))
        if in_channels != out_channels:
            self.add_module("conv", nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.add_module("norm", norm(out_channels))


def relu_conv_norm(in_channels: int, out_channels: int, *, norm: Norm, stride: int = 1) -> nn.Sequential:
    """ReLU, a 1×1 convolution without bias, normalisation."""
    conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(OrderedDict({"relu": nn.ReLU(), "conv": conv, "norm": norm(out_channels)}))


def identity(in_channels: int, out_channels: int, *, stride: int, norm: Norm) -> nn.Module:
    """Nothing; where stride or channels change, the 1×1 convolution that this takes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return relu_conv_norm(in_channels, out_channels, stride=stride, norm=norm)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        NONE: identity,
        "1x1": relu_conv_norm,
        "3x3": partial(Bottlenecked, kernels=((3, 3),)),
        "dilated3x3": partial(Bottlenecked, kernels=((3, 3),), dilation=2),
        "1x3_3x1": partial(Bottlenecked, kernels=((1, 3), (3, 1))),
        "1x7_7x1": partial(Bottlenecked, kernels=((1, 7), (7, 1))),
        "sep3x3": partial(StackedSeparable, kernel_size=3),
        "sep5x5": partial(StackedSeparable, kernel_size=5),
        "sep7x7": partial(StackedSeparable, kernel_size=7),
        "avg3x3": partial(Pooling, pool=SameAvgPool2d, kernel_size=3),
        "max3x3": partial(Pooling, pool=SameMaxPool2d, kernel_size=3),
        "max5x5": partial(Pooling, pool=SameMaxPool2d, kernel_size=5),
        "max7x7": partial(Pooling, pool=SameMaxPool2d, kernel_size=7),
    }
)


def operation(
    name: str, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = nn.BatchNorm2d
) -> nn.Module:
    """The module of an operation's name.

    Raises:
        UsageError: no operation is called so.
    """
    if name not in OPERATIONS:
        known = ", ".join(OPERATIONS)
        raise UsageError(f"no operation is called {name!r}; there are {known}.{suggestion(name, OPERATIONS)}")
    return OPERATIONS[name](in_channels, out_channels, stride=stride, norm=norm)
