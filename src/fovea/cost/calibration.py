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
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fovea.cost.measuring import Workout
from fovea.cost.prices import Ceilings, Prices, Sample, family_of, features_of, moved
from fovea.cost.probes import LARGEST, Probe, probes
from fovea.cost.recorder import Operation
from fovea.cost.step import Precision, Setting
from fovea.errors import ModelError
from fovea.files import cache_folder, read_json, write_json

FORM = 2  # of the file; another number makes old ones be measured anew
FEWEST = 15  # probes that are always taken: one of every form
BUDGET = 53.0  # seconds for all samples; what does not fit is left out from the end of the sequence


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
    noise = torch.randn(LARGEST, generator=torch.Generator().manual_seed(0))
    for number, probe in enumerate(probes()):
        if number >= FEWEST and time.perf_counter() - began > budget:
            break
        samples += _samples(probe, precision, channels_last, noise)
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
    machine, path = hardware(), kept_at(precision=precision, channels_last=channels_last, folder=folder)
    if path.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError, ModelError):  # one that is damaged is made anew
            return _read(path)
    ceilings, samples = calibrated(precision=precision, channels_last=channels_last)
    made = Calibration(machine, datetime.date.today().isoformat(), ceilings, tuple(samples))
    write_json(path, {"machine": machine, "date": made.date, "ceilings": asdict(ceilings), "samples": samples})
    return made


def kept_at(*, precision: Precision, channels_last: bool, folder: Path | None = None) -> Path:
    """The file that this machine's calibration is kept in, or will be; the arguments are those of `calibration`."""
    key = f"{precision}{'-channels-last' if channels_last else ''}"
    name = hashlib.sha256(json.dumps([FORM, hardware(), key]).encode()).hexdigest()[:12]
    return (folder or cache_folder()) / f"calibration-{key}-{name}.json"


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


def _samples(probe: Probe, precision: Precision, channels_last: bool, noise: Tensor) -> list[Sample]:
    setting = Setting(
        in_channels=probe.in_channels,
        image_size=probe.side,
        batch_size=probe.batch,
        precision=precision,
        channels_last=channels_last,
    )
    workout = Workout(probe.network, setting, noise=noise)
    operations = workout.operations(workout.step) + workout.operations(workout.forward)
    return [_sample(operation) for operation in operations if operation.kind != "view"]


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
