"""Convolution in the modes of a lecture: each a function that gives one module, usable alone.

For an image of n pixels a side and a kernel of k, one axis at a time:

    mode        output                      parameters without biases
    valid       n - k + 1                   k² · in · out
    same        ceil(n / stride)            k² · in · out
    full        n + k - 1                   k² · in · out
    strided     (n + 2p - k) // s + 1       k² · in · out
    dilated     n + 2p - d(k - 1)           k² · in · out
    grouped     n + 2p - k + 1              k² · in · out / groups
    depthwise   (n + 2p - k) // s + 1       k² · in · multiplier
    pointwise   (n - 1) // s + 1            in · out
    separable   depthwise, then pointwise   k² · in · multiplier + in · multiplier · out

What networks call convolution is cross-correlation: the kernel is not flipped. Since it is learned, nothing changes.

Source: Dumoulin and Visin 2016, arXiv:1603.07285; the modes with sources of their own name them.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from fovea.errors import ShapeError
from fovea.layers.same_padding import SamePadConv2d


def valid(in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> nn.Conv2d:
    """Only where the kernel lies wholly inside the image: n - k + 1."""
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
    return nn.Conv2d(in_channels, out_channels, kernel_size, bias=bias)


def same(in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, bias: bool = True) -> SamePadConv2d:
    """As large as the image, over the stride rounded up, for any stride as TensorFlow has it: ceil(n / stride)."""
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride)
    return SamePadConv2d(in_channels, out_channels, kernel_size, stride=stride, bias=bias)


def full(in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> nn.Conv2d:
    """Wherever the kernel touches the image in one pixel or more: n + k - 1."""
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size - 1, bias=bias)


def strided(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    """Every stride-th position only: (n + 2 · padding - k) // stride + 1."""
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, stride=stride)
    _check_padding(padding)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias)


def dilated(
    in_channels: int, out_channels: int, kernel_size: int, *, dilation: int, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    """A kernel with gaps, which sees dilation · (k - 1) + 1 pixels with k weights. Source: Yu and Koltun 2015,
    arXiv:1511.07122.
    """
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, dilation=dilation)
    _check_padding(padding)
    return nn.Conv2d(in_channels, out_channels, kernel_size, dilation=dilation, padding=padding, bias=bias)


def grouped(
    in_channels: int, out_channels: int, kernel_size: int, *, groups: int, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    """Parts of the channels that do not see each other, each with its own filters. Source: Krizhevsky, Sutskever and
    Hinton 2012, NIPS, section 3.2, where two GPUs hold two groups.

    Raises:
        ShapeError: a number below 1, or channels that the groups do not divide.
    """
    _check(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, groups=groups)
    _check_padding(padding)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ShapeError(f"{name} (={channels}) must be divisible by groups (={groups})")
    return nn.Conv2d(in_channels, out_channels, kernel_size, groups=groups, padding=padding, bias=bias)


def depthwise(
    channels: int, kernel_size: int, *, multiplier: int = 1, stride: int = 1, padding: int = 0, bias: bool = True
) -> nn.Conv2d:
    """Each channel by itself, with `multiplier` filters of its own: channels · multiplier outputs. Source: Sifre 2014,
    PhD thesis, École Polytechnique.
    """
    _check(channels=channels, kernel_size=kernel_size, multiplier=multiplier, stride=stride)
    _check_padding(padding)
    outputs = channels * multiplier
    return nn.Conv2d(channels, outputs, kernel_size, stride=stride, padding=padding, groups=channels, bias=bias)


def pointwise(in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """One pixel at a time, a linear layer across the channels. Source: Lin, Chen and Yan 2013, arXiv:1312.4400."""
    _check(in_channels=in_channels, out_channels=out_channels, stride=stride)
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias)


def separable(
    in_channels: int, out_channels: int, kernel_size: int, *, multiplier: int = 1, stride: int = 1, padding: int = 0
) -> nn.Sequential:
    """Space first, `depthwise`, then the channels, `pointwise`; nothing between. The last alone has biases, which would
    be redundant in the first. Source: Sifre 2014; Chollet 2016, arXiv:1610.02357.
    """
    first = depthwise(in_channels, kernel_size, multiplier=multiplier, stride=stride, padding=padding, bias=False)
    last = pointwise(in_channels * multiplier, out_channels)
    return nn.Sequential(OrderedDict(depthwise=first, pointwise=last))


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ShapeError(f"{name} (={number}) must be 1 or more")


def _check_padding(padding: int) -> None:
    if padding < 0:
        raise ShapeError(f"padding (={padding}) must be 0 or more")
