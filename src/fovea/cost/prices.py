"""What an operation takes on this machine: from a few hundred timed samples to a price for any operation.

An operation's price is a simple base, `overhead + FLOPs / peak + bytes / bandwidth`, times a correction that is learned
from samples of its family: a Gaussian process over the logarithms of its sizes, which returns to the family's mean
where no sample is near.

Source: Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, chapters 2 and 5.4.2 (leaving one out).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.cost.operations import Kind
from fovea.cost.recorder import Operation, Spec

SCALES = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # how far a sample reaches, in doublings of a size; the best is chosen
NOISE = 0.1  # of a sample's logarithm: a timing is repeated to about 10 %
SPREAD = 0.5  # of the correction's logarithm
EVALUATION = " in evaluation"
FREE: tuple[Kind, ...] = ("view",)  # kinds that cost the framework's overhead alone
Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """One timed operation."""

    family: str
    features: tuple[float, ...]
    macs: int
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What the machine can do at best, as measured.

    Args:
        flops: Per second, by its best matrix product or convolution.
        bandwidth: (bytes in play, bytes per second) from the smallest, cached, to the largest, in memory.
        overhead: Seconds that the framework needs for one operation beside its arithmetic.
    """

    flops: float
    bandwidth: tuple[tuple[int, float], ...]
    overhead: float

    def bytes_per_second(self, count: int) -> float:
        """The best that was reached with so many bytes, or more, in play."""
        return max([speed for size, speed in self.bandwidth if size >= count] or [self.bandwidth[-1][1]])

    def bound(self, macs: int, count: int) -> float:
        """The roofline: seconds below which so much arithmetic on so many bytes cannot come."""
        return max(2 * macs / self.flops, count / self.bytes_per_second(count))


class Prices:
    """Seconds for any operation, from samples of one machine, precision and memory format."""

    def __init__(self, ceilings: Ceilings, samples: Iterable[Sample]) -> None:
        self.ceilings = ceilings
        self.families: dict[str, _Family] = {}
        by_family: dict[str, list[Sample]] = {}
        for sample in samples:
            by_family.setdefault(sample.family, []).append(sample)
            if "/" in sample.family:  # the kind of work stands in for an operation that has no samples
                by_family.setdefault(sample.family.partition("/")[0], []).append(sample)
        for name, found in by_family.items():
            self.families[name] = _Family(tuple(found), tuple(self.base(s.macs, s.bytes) for s in found))

    def base(self, macs: int, count: int) -> float:
        """Seconds without correction."""
        speed = self.ceilings.bandwidth[-1][1]
        return 1e-6 + 2 * macs / self.ceilings.flops + count / speed

    def bound(self, operation: Operation) -> float:
        """The roofline of one operation."""
        return 0.0 if operation.kind in FREE else self.ceilings.bound(operation.macs, moved(operation))

    def estimate(self, operation: Operation) -> float:
        """Seconds of one operation, the framework's overhead included; never below its bound."""
        if operation.kind in FREE:
            return self.ceilings.overhead
        priced = self.price(family_of(operation), features_of(operation), operation.macs, moved(operation))
        return self.ceilings.overhead + priced

    def price(self, family: str, features: Sequence[float], macs: int, count: int) -> float:
        """Seconds of work of a family; where it has no samples, its kind of work stands in."""
        names = (family, family.removesuffix(EVALUATION), family.partition("/")[0])
        found = next((self.families[name] for name in names if name in self.families), None)
        seconds = self.base(macs, count) * (found.correction(features) if found else 1.0)
        return max(seconds, self.ceilings.bound(macs, count))


def family_of(operation: Operation) -> str:
    """Operations that are priced together: convolutions by form and direction, the others by kind and name.

    A forward pass in evaluation has families of its own: its maps find memory that is used again and again, where
    training touches new memory for all that it keeps, and its batch normalisation needs no statistics.
    """
    return _family_of(operation) + (EVALUATION if operation.phase == "evaluation" else "")


def _family_of(operation: Operation) -> str:
    if operation.kind != "convolution":
        return f"{operation.kind}/{operation.name}"
    form = "depthwise" if _is_depthwise(operation) else "dense"
    if operation.name != "convolution_backward":
        return f"{form} forward"
    wanted = operation.args[10]
    return f"{form} backward" if wanted[0] else f"{form} backward of weights"


def features_of(operation: Operation) -> tuple[float, ...]:
    """The logarithms, to base 2, of the sizes that an operation's speed depends on."""
    if operation.kind == "convolution":
        return _convolution_features(operation)
    if operation.kind == "matrix product":
        left, right = [spec for spec in operation.tensors if len(spec.shape) >= 2][-2:]
        return _logs(math.prod(left.shape[:-1]), left.shape[-1], right.shape[-1])
    if operation.kind == "pooling":
        window = next(
            (arg for arg in operation.args if isinstance(arg, tuple) and arg and isinstance(arg[0], int)), (1,)
        )
        return _logs(math.prod(operation.outputs[0].shape), math.prod(window))
    return _logs(moved(operation))


def moved(operation: Operation) -> int:
    """Bytes that an operation has to read and to write."""
    return sum(spec.bytes for spec in operation.tensors) + sum(spec.bytes for spec in operation.outputs)


def _is_depthwise(operation: Operation) -> bool:
    backward = operation.name == "convolution_backward"
    weight, groups = operation.args[2 if backward else 1], operation.args[9 if backward else 8]
    return bool(groups > 1 and isinstance(weight, Spec) and weight.shape[1] == 1)


def _convolution_features(operation: Operation) -> tuple[float, ...]:
    backward = operation.name == "convolution_backward"
    positions, weight = (
        (operation.args[0], operation.args[2]) if backward else (operation.outputs[0], operation.args[1])
    )
    stride, groups = (operation.args[4], operation.args[9]) if backward else (operation.args[3], operation.args[8])
    images, out_channels, *sides = positions.shape
    return _logs(
        images,
        math.prod(sides),
        weight.shape[1],
        out_channels // groups,
        groups,
        math.prod(weight.shape[2:]),
        stride[0],
    )


def _logs(*sizes: int) -> tuple[float, ...]:
    return tuple(math.log2(max(size, 1)) for size in sizes)


class _Family:
    """The correction of one family, as a Gaussian process over its samples."""

    def __init__(self, samples: Sequence[Sample], bases: Sequence[float]) -> None:
        self.features = np.array([sample.features for sample in samples])
        self.logs = np.log([s.seconds / base for s, base in zip(samples, bases, strict=True)])

    def correction(self, features: Sequence[float]) -> float:
        """The factor between base and price."""
        scale, mean, weights = self._fitted
        inside = np.clip(features, self.features.min(0), self.features.max(0))
        near = self._likeness(inside[None], self.features, scale)
        return float(np.exp(mean + (near @ weights)[0]))

    @cached_property
    def _fitted(self) -> tuple[float, float, Floats]:
        """The scale that predicts each sample best from the others, with the mean and the samples' weights."""
        mean = float(self.logs.mean())
        found: list[tuple[float, float, Floats]] = []
        for scale in SCALES:
            inverse = np.linalg.inv(self._covariance(scale))
            weights = inverse @ (self.logs - mean)
            left_out = weights / np.diag(inverse)  # the error where a sample is predicted from all others
            found.append((float(np.abs(left_out).mean()), scale, weights))
        _, scale, weights = min(found, key=lambda each: each[0])
        return scale, mean, weights

    def _covariance(self, scale: float) -> Floats:
        likeness = self._likeness(self.features, self.features, scale)
        return np.asarray(likeness + NOISE**2 * np.eye(len(self.features)))

    @staticmethod
    def _likeness(a: Floats, b: Floats, scale: float) -> Floats:
        distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1)
        return np.asarray(SPREAD**2 * np.exp(-distance / (2 * scale**2)))
