"""Small networks that samples of operations are taken from: layers of many sizes with what usually stands behind them.

Their sizes are drawn evenly, in logarithms, over those that networks have, by a sequence that is always the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LARGEST = 1 << 24  # numbers in one map


SIDES = (4, 7, 8, 14, 16, 28, 32, 56, 112)


MOST = 2.0**30  # multiply-adds of one pass of a probe


PRIMES = (2, 3, 5, 7, 11, 13, 17)


class Probe(NamedTuple):
    """A network to take samples from, and the images it takes."""

    network: nn.Module
    in_channels: int
    side: int
    batch: int


def probes() -> Iterator[Probe]:
    """The networks to take samples from; every beginning of the sequence covers all sizes, the longer the denser."""
    turns = (
        *(_dense, _pooled, _depthwise, _dense, _first, _dense, _linear, _pooled),
        *(_dense, _depthwise, _dense, _first, _dense, _pooled, _joined),
    )
    for number in range(1, 500):
        maker = turns[number % len(turns)]
        yield maker(tuple(_halton(number, prime) for prime in PRIMES))


class _Block(nn.Module):
    """A convolution and what stands behind it in a network: normalisation, activation, a sum or a concatenation."""

    def __init__(self, entry: nn.Module, conv: nn.Module, act: nn.Module, *, join: str = "", norm: int = 0) -> None:
        super().__init__()
        self.entry, self.conv, self.act, self.join = entry, conv, act, join
        self.norm = nn.BatchNorm2d(norm) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.entry(images)
        behind = self.act(self.norm(self.conv(maps)))
        if self.join == "add":
            behind = behind + maps
        elif self.join == "cat":
            behind = torch.cat([maps, behind], 1)
        elif self.join == "gate":
            behind = behind * torch.sigmoid(behind.mean((2, 3), keepdim=True))
        logits: Tensor = behind.mean((2, 3))
        return logits


class _Entry(nn.Module):
    """The first layer of a probe, cheap, so that what follows has a gradient to give.

    Every channel has numbers of its own: max pooling is three times as fast where they are all alike, because the
    processor foresees what its comparisons will give.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, images: Tensor) -> Any:
        return images * self.weight


def _dense(draw: tuple[float, ...]) -> Probe:
    in_channels, out_channels = _channels(draw[0], 4, 2048), _channels(draw[1], 4, 2048)
    kernel = (1, 1, 3, 3, 3, 3, 5, 7)[int(draw[2] * 8)]
    stride = 2 if draw[3] > 0.85 and kernel < 7 else 1
    per_position = in_channels * out_channels * kernel**2
    widest = max(in_channels, out_channels)
    side = _side(draw[4], kernel, most=math.sqrt(min(MOST / per_position, LARGEST / widest)))
    groups = 2 if draw[6] > 0.9 and in_channels % 2 == 0 and out_channels % 2 == 0 else 1
    per_image = per_position * (side // stride) ** 2 // groups
    batch = _batch(draw[5], per_image, widest * side**2, most=MOST)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=draw[6] < 0.3)
    act = (nn.ReLU(inplace=True), nn.SiLU(), nn.ReLU6(inplace=True), nn.ReLU())[int(draw[6] * 13) % 4]
    join = "add" if stride == 1 and in_channels == out_channels else ("cat" if stride == 1 and draw[3] < 0.2 else "")
    return Probe(_Block(_Entry(in_channels), conv, act, join=join, norm=out_channels), in_channels, side, batch)


def _depthwise(draw: tuple[float, ...]) -> Probe:
    channels, kernel, stride = _channels(draw[0], 16, 2048), (3, 3, 5)[int(draw[1] * 3)], 2 if draw[2] > 0.7 else 1
    side = _side(draw[3], kernel, most=math.sqrt(LARGEST / channels))
    batch = _batch(draw[4], channels * kernel**2 * (side // stride) ** 2, channels * side**2, most=2.0**27)
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    act = nn.SiLU() if draw[5] > 0.5 else nn.ReLU6(inplace=True)
    return Probe(
        _Block(_Entry(channels), conv, act, join="gate" if draw[6] > 0.5 else "", norm=channels), channels, side, batch
    )


def _first(draw: tuple[float, ...]) -> Probe:
    """The first convolution of a network, which needs no gradient of its images."""
    channels, out_channels = (1, 3)[int(draw[0] * 2)], _channels(draw[1], 4, 128)
    kernel, stride = ((3, 1), (3, 2), (5, 1), (7, 2), (11, 4))[int(draw[2] * 5)]
    side = (28, 32, 64, 128, 224)[int(draw[3] * 5)]
    per_image = channels * out_channels * kernel**2 * (side // stride) ** 2
    batch = _batch(draw[4], per_image, out_channels * (side // stride) ** 2, most=2.0**29)
    conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2)
    act = nn.ReLU(inplace=draw[5] > 0.5)
    norm = out_channels if draw[6] > 0.5 else 0
    return Probe(_Block(nn.Identity(), conv, act, norm=norm), channels, side, batch)


def _linear(draw: tuple[float, ...]) -> Probe:
    inputs, units = int(64 * 2 ** (8.7 * draw[0] ** 0.5)), int(8 * 2 ** (9 * draw[1] ** 0.5))  # more large than small
    batch = int(2 ** (8 * draw[2]))
    layers = nn.Sequential(_Entry(inputs), nn.Flatten(), nn.Linear(inputs, units), nn.ReLU(), nn.Dropout())
    return Probe(layers, inputs, 1, batch)


def _pooled(draw: tuple[float, ...]) -> Probe:
    channels, side = _channels(draw[0], 4, 512), SIDES[3 + int(draw[1] * 6)]
    batch = _batch(draw[2], channels * side**2, channels * side**2, most=2.0**24)
    pool = (
        nn.MaxPool2d(2, 2),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(3, 1, 1),
        nn.AvgPool2d(2, 2),
        nn.LocalResponseNorm(5),
    )[int(draw[3] * 6)]
    return Probe(_Block(_Entry(channels), pool, nn.Identity()), channels, side, batch)


def _joined(draw: tuple[float, ...]) -> Probe:
    """A narrow convolution behind wide maps, joined to them: the layers of a DenseNet."""
    channels, side = _channels(draw[0], 64, 1024), _side(draw[1], 1)
    batch = _batch(draw[2], 32 * channels * side**2, channels * side**2, most=2.0**28)
    conv = nn.Conv2d(channels, 32, 1, bias=False)
    entry = nn.Sequential(_Entry(channels), nn.BatchNorm2d(channels), nn.ReLU())
    return Probe(_Block(entry, conv, nn.ReLU(inplace=True), join="cat", norm=32), channels, side, batch)


def _channels(draw: float, least: int, most: int) -> int:
    count = least * (most / least) ** draw
    step = 1 if count < 16 else 8
    return max(1, int(count / step + 0.5) * step)


def _side(draw: float, kernel: int, *, most: float = math.inf) -> int:
    sides = [side for side in SIDES if kernel <= side <= most] or [max(SIDES[0], kernel)]
    return sides[int(draw * len(sides))]


def _batch(draw: float, macs: int, numbers: int, *, most: float) -> int:
    """As many images as make between a thousandth of the most work and the most, within the memory."""
    wanted = most ** (0.7 + 0.3 * draw) / macs
    return max(1, min(int(wanted), 256, LARGEST // numbers))


def _halton(number: int, base: int) -> float:
    """The number's digits to a base, behind the point in reverse; such numbers fill [0, 1) evenly; Halton 1960."""
    value, digit = 0.0, 1.0
    while number:
        digit /= base
        number, rest = divmod(number, base)
        value += digit * rest
    return value
