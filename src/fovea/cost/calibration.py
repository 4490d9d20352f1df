"""What this machine needs for the operations of training: measured once, in less than a minute, and kept.

The samples come from small networks that are trained for a few steps: convolutions of many sizes with what usually
stands behind them. They are drawn evenly over the sizes that networks have, by a sequence that is always the same.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fovea.cost.measuring import Workout
from fovea.cost.prices import Ceilings, Prices, Sample, family_of, features_of, moved
from fovea.cost.recorder import Operation
from fovea.cost.step import Precision, Setting
from fovea.errors import ModelError
from fovea.files import read_json, write_json

FORM = 1  # of the file; another number makes old ones be measured anew
BUDGET = 55.0  # seconds for all samples; what does not fit is left out from the end of the sequence
LARGEST = 1 << 24  # numbers in one map
SIDES = (4, 7, 8, 14, 16, 28, 32, 56, 112)
MOST = 2.0**30  # multiply-adds of one pass of a probe
PRIMES = (2, 3, 5, 7, 11, 13, 17)


class Calibration(NamedTuple):
    """What was measured: where and when, the ceilings, and the samples."""

    machine: str
    date: str
    ceilings: Ceilings
    samples: tuple[Sample, ...]

    @property
    def prices(self) -> Prices:
        """A price for any operation."""
        return Prices(self.ceilings, self.samples)


class Probe(NamedTuple):
    """A network to take samples from, and the images it takes."""

    network: nn.Module
    in_channels: int
    side: int
    batch: int


def calibrated(*, precision: Precision, channels_last: bool, budget: float = BUDGET) -> tuple[Ceilings, list[Sample]]:
    """The machine's ceilings, and samples of its operations.

    Args:
        precision: Of the convolutions and products.
        channels_last: How weights and maps lie in memory.
        budget: Seconds that it may take.
    """
    began = time.perf_counter()
    samples: list[Sample] = []
    overhead = _overhead(precision, channels_last)
    for probe in probes():
        if time.perf_counter() - began > budget:
            break
        samples += _samples(probe, precision, channels_last)
    flops = max(2 * sample.macs / sample.seconds for sample in samples)
    return Ceilings(flops=flops, bandwidth=_bandwidth(), overhead=overhead), samples


def calibration(*, precision: Precision, channels_last: bool, folder: Path | None = None) -> Calibration:
    """The machine's calibration: the one kept in the folder, or a new one, which is kept there.

    Args:
        precision: Of the convolutions and products.
        channels_last: How weights and maps lie in memory.
        folder: Where it is kept; the user's cache where None.

    Raises:
        MachineError: it cannot be kept there.
    """
    machine = hardware()
    key = f"{precision}{'-channels-last' if channels_last else ''}"
    name = hashlib.sha256(json.dumps([FORM, machine, key]).encode()).hexdigest()[:12]
    path = (folder or cache_folder()) / f"calibration-{key}-{name}.json"
    if path.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError, ModelError):  # one that is damaged is made anew
            return _read(path)
    ceilings, samples = calibrated(precision=precision, channels_last=channels_last)
    made = Calibration(machine, datetime.date.today().isoformat(), ceilings, tuple(samples))
    write_json(path, {"machine": machine, "date": made.date, "ceilings": asdict(ceilings), "samples": samples})
    return made


def cache_folder() -> Path:
    """Where what is costly to find out is kept: FOVEA_CACHE, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FOVEA_CACHE") or Path(home) / "fovea")


def hardware() -> str:
    """What was measured: processor, threads, torch."""
    return f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (named or [platform.processor() or platform.machine()])[0]


def _read(path: Path) -> Calibration:
    told = read_json(path)
    bandwidth = tuple((int(size), float(speed)) for size, speed in told["ceilings"].pop("bandwidth"))
    samples = tuple(Sample(each[0], tuple(each[1]), *each[2:]) for each in told["samples"])
    return Calibration(told["machine"], told["date"], Ceilings(**told["ceilings"], bandwidth=bandwidth), samples)


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
    """The first layer, which makes the probe's maps from images of one channel: cheap, and it wants a gradient."""

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
    side = _side(draw[4], kernel, most=math.sqrt(MOST / per_position))
    groups = 2 if draw[6] > 0.9 and in_channels % 2 == 0 and out_channels % 2 == 0 else 1
    per_image = per_position * (side // stride) ** 2 // groups
    batch = _batch(draw[5], per_image, max(in_channels, out_channels) * side**2, most=MOST)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=draw[6] < 0.3)
    act = (nn.ReLU(inplace=True), nn.SiLU(), nn.ReLU6(inplace=True), nn.ReLU())[int(draw[6] * 13) % 4]
    join = "add" if stride == 1 and in_channels == out_channels else ("cat" if stride == 1 and draw[3] < 0.2 else "")
    return Probe(_Block(_Entry(in_channels), conv, act, join=join, norm=out_channels), 1, side, batch)


def _depthwise(draw: tuple[float, ...]) -> Probe:
    channels, kernel, stride = _channels(draw[0], 16, 2048), (3, 3, 5)[int(draw[1] * 3)], 2 if draw[2] > 0.7 else 1
    side = _side(draw[3], kernel)
    batch = _batch(draw[4], channels * kernel**2 * (side // stride) ** 2, channels * side**2, most=2.0**27)
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    act = nn.SiLU() if draw[5] > 0.5 else nn.ReLU6(inplace=True)
    return Probe(
        _Block(_Entry(channels), conv, act, join="gate" if draw[6] > 0.5 else "", norm=channels), 1, side, batch
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
    inputs, units = int(64 * 2 ** (8 * draw[0])), int(8 * 2 ** (9 * draw[1]))
    batch = int(2 ** (8 * draw[2]))
    layers = nn.Sequential(_Entry(inputs), nn.Flatten(), nn.Linear(inputs, units), nn.ReLU(), nn.Dropout())
    return Probe(layers, 1, 1, batch)


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
    return Probe(_Block(_Entry(channels), pool, nn.Identity()), 1, side, batch)


def _joined(draw: tuple[float, ...]) -> Probe:
    """A narrow convolution behind wide maps, joined to them: the layers of a DenseNet."""
    channels, side = _channels(draw[0], 64, 1024), _side(draw[1], 1)
    batch = _batch(draw[2], 32 * channels * side**2, channels * side**2, most=2.0**28)
    conv = nn.Conv2d(channels, 32, 1, bias=False)
    entry = nn.Sequential(_Entry(channels), nn.BatchNorm2d(channels), nn.ReLU())
    return Probe(_Block(entry, conv, nn.ReLU(inplace=True), join="cat", norm=32), 1, side, batch)


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


def _samples(probe: Probe, precision: Precision, channels_last: bool) -> list[Sample]:
    setting = Setting(
        in_channels=probe.in_channels,
        image_size=probe.side,
        batch_size=probe.batch,
        precision=precision,
        channels_last=channels_last,
    )
    workout = Workout(probe.network, setting)
    return [_sample(operation) for operation in workout.operations(workout.step) if operation.kind != "view"]


def _sample(operation: Operation) -> Sample:
    count = moved(operation)
    return Sample(family_of(operation), features_of(operation), operation.macs, count, max(operation.seconds, 1e-7))


def _overhead(precision: Precision, channels_last: bool) -> float:
    """Seconds for an operation beside its own: a network of many tiny layers, timed as a whole and in its parts."""
    layers = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(20)]
    setting = Setting(in_channels=8, image_size=4, batch_size=1, precision=precision, channels_last=channels_last)
    workout = Workout(nn.Sequential(*layers), setting)
    whole = min(workout.timed(workout.step) for _ in range(3))
    parts = workout.operations(workout.step)
    return max(0.0, whole - sum(operation.seconds for operation in parts)) / len(parts)


def _bandwidth() -> tuple[tuple[int, float], ...]:
    """Bytes per second of adding two tensors into a third, from what fits the caches to what does not."""
    found = []
    for size in (1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28):
        a = torch.ones(size // 12)
        b, out = torch.ones_like(a), torch.empty_like(a)
        seconds = math.inf
        for _ in range(8):
            began = time.perf_counter()
            torch.add(a, b, out=out)
            seconds = min(seconds, time.perf_counter() - began)
        found.append((size, size / seconds))
    return tuple(found)
