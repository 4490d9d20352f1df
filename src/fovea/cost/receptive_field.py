"""The receptive field: which pixels of the image one unit of a feature map depends on, followed through operations.

Along each axis unit i of a map sees the pixels from `start + i · stride` to `start + i · stride + size - 1`, pixel 0 the
image's first; a start below 0 lies in the padding, and the field may be larger than the image. Where branches meet,
the field is the union. Global pooling and linear layers see the image. What cannot be followed is `UNKNOWN`, never
guessed.

Source: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", Distill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Shape = Sequence[int]


class Axis(NamedTuple):
    """Along one axis, in pixels of the image: how many are seen, the step between units, where the first begins."""

    size: float
    stride: float
    start: float

    @property
    def centre(self) -> float:
        """Where the middle of the first unit's field lies; 0 is the middle of the image's first pixel."""
        return self.start + (self.size - 1) / 2


class Field(NamedTuple):
    """The field of a map's units.

    Args:
        dims: Which dimensions of the tensor are the image's height and width; empty once they are flattened.
        axes: The field along height and width; empty where it is the whole image, or unknown.
        known: False where an operation could not be followed.
    """

    dims: tuple[int, ...]
    axes: tuple[Axis, ...]
    known: bool = True

    @property
    def whole(self) -> bool:
        """Whether every unit sees the whole image."""
        return self.known and not self.axes


IMAGE = Field((), ())
UNKNOWN = Field((), (), known=False)


class Window(NamedTuple):
    """What one unit of the output sees of the input along one axis, in units of the input."""

    size: int  # of the kernel with its gaps
    stride: float
    before: int  # padding before the first unit


def of_image(dims: int) -> Field:
    """The image itself: every pixel sees itself, along the last two of so many dimensions."""
    return Field(tuple(range(2, dims)), (Axis(1, 1, 0),) * (dims - 2))


def through(axis: Axis, window: Window) -> Axis:
    """The field behind a window: larger by what the window adds, in steps of the input's stride."""
    return Axis(
        axis.size + (window.size - 1) * axis.stride,
        axis.stride * window.stride,
        axis.start - window.before * axis.stride,
    )


def windowed(field: Field, windows: Sequence[Window], dims: int) -> Field:
    """A convolution or pooling over the last dimensions of a tensor of so many; others than the image's stay out."""
    if not field.axes or not field.dims:
        return field
    first = dims - len(windows)
    axes = [
        through(axis, windows[dim - first]) if dim >= first else axis
        for dim, axis in zip(field.dims, field.axes, strict=True)
    ]
    return field._replace(axes=tuple(axes))


def union(fields: Sequence[Field]) -> Field | None:
    """Where several maps meet: from the first pixel that any sees to the last; None where none sees the image."""
    fields = [field for field in fields if field is not None]
    if not fields:
        return None
    if any(field.whole for field in fields):
        return IMAGE
    first = fields[0]
    if any(not field.known or field.dims != first.dims for field in fields):
        return UNKNOWN
    axes = []
    for together in zip(*(field.axes for field in fields), strict=True):
        if any(not math.isclose(axis.stride, together[0].stride) for axis in together):
            return UNKNOWN
        start = min(axis.start for axis in together)
        axes.append(Axis(max(axis.start + axis.size for axis in together) - start, together[0].stride, start))
    return Field(first.dims, tuple(axes))


def reshaped(field: Field, before: Shape, after: Shape) -> Field:
    """After a view: height and width stay where as many units stand before them; else they are flattened."""
    if not field.axes or not field.dims:
        return field
    places: list[int] = []
    for dim in field.dims:
        outer = math.prod(before[:dim])
        fitting = [
            place
            for place in range(len(after))
            if after[place] == before[dim] and math.prod(after[:place]) == outer and place not in places
        ]
        if not fitting:
            return field._replace(dims=()) if len(after) < len(before) else UNKNOWN
        places.append(fitting[-1] if before[dim] == 1 else fitting[0])
    return field._replace(dims=tuple(places))


def moved(field: Field, order: Sequence[int]) -> Field:
    """After a permutation of the dimensions."""
    return field._replace(dims=tuple(list(order).index(dim) for dim in field.dims))


def contracted(field: Field, dims: Sequence[int], rank: int, *, keep: bool) -> Field:
    """After a mean, sum, maximum, softmax or norm over some dimensions.

    Over height or width it sees the image; over others nothing changes but the places, unless they are kept.
    """
    gone = {dim % rank for dim in dims} or set(range(rank))
    if not field.axes or not field.dims:
        return field if field.whole or not field.known or not gone & {1} else IMAGE
    if gone & set(field.dims):
        return IMAGE
    return field if keep else field._replace(dims=tuple(dim - sum(g < dim for g in gone) for dim in field.dims))


def sliced(field: Field, dim: int, start: int, step: int) -> Field:
    """Every step-th unit from a start on, along one dimension."""
    axes = [
        Axis(axis.size, axis.stride * step, axis.start + start * axis.stride) if dim == place else axis
        for place, axis in zip(field.dims, field.axes, strict=False)
    ]
    return field._replace(axes=tuple(axes)) if field.dims else field


def padded(field: Field, pads: Sequence[int], rank: int) -> Field:
    """After padding, given as torch has it: from the last dimension on, before and after."""
    axes = []
    for dim, axis in zip(field.dims, field.axes, strict=False):
        place = 2 * (rank - 1 - dim)
        before = pads[place] if place < len(pads) else 0
        axes.append(axis._replace(start=axis.start - before * axis.stride))
    return field._replace(axes=tuple(axes)) if field.dims else field


def resampled(field: Field, before: Shape, after: Shape, *, blends: bool) -> Field:
    """After enlarging or reducing a map by interpolation; a blend of neighbours sees one unit more."""
    axes = [
        Axis(axis.size + blends * axis.stride, axis.stride * before[dim] / after[dim], axis.start)
        for dim, axis in zip(field.dims, field.axes, strict=False)
    ]
    return field._replace(axes=tuple(axes)) if field.dims else field


def adaptive(inside: int, outside: int) -> Window | None:
    """The window of adaptive pooling from so many units to so many; None where it is all of them."""
    if outside == 1 and inside > 1:
        return None
    sizes = [-(-(i + 1) * inside // outside) - i * inside // outside for i in range(outside)]
    return Window(max(sizes), inside / outside, 0)
