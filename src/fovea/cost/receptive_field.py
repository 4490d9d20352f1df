"""The receptive field: which pixels of the image one unit of a feature map depends on, followed through operations.

Along each axis unit i of a map sees the pixels from `start + i · stride` to `start + i · stride + size - 1`, pixel 0
the image's first; a start below 0 lies in the padding, and the field may be larger than the image. Where branches meet,
the field is the union. Global pooling and linear layers see the image. What cannot be followed is `UNKNOWN`, never
guessed.

Behind an enlargement (a transposed convolution, interpolation) several units see the same pixels: the first and the
last place are then fractions, which rounded down to the smaller map's steps are what a unit sees. The size is the mean
over the units.

Source: Araujo, Norris and Sim 2019, "Computing receptive fields of convolutional neural networks", Distill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
        flat: The dimensions that height and width are flattened into; empty before.
        sides: Height and width of a flattened map, by which it can be unfolded; empty where something joined them.
    """

    dims: tuple[int, ...]
    axes: tuple[Axis, ...]
    known: bool = True
    flat: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every unit sees the whole image."""
        return self.known and not self.axes

    @property
    def places(self) -> tuple[int, ...]:
        """The dimensions along which units differ in what they see."""
        return (*self.dims, *self.flat)

    def placed(self, place: Callable[[int], int]) -> Field:
        """The same field where the tensor's dimensions have moved."""
        return self._replace(dims=tuple(map(place, self.dims)), flat=tuple(map(place, self.flat)))


IMAGE = Field((), ())
UNKNOWN = Field((), (), known=False)


class Window(NamedTuple):
    """What one unit of the output sees of the input along one axis, in units of the input."""

    size: float  # of the kernel with its gaps
    stride: float
    before: float  # padding before the first unit


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
    first = dims - len(windows)
    if not field.dims:
        touched = any(place >= first and windows[place - first] != Window(1, 1, 0) for place in field.flat)
        return UNKNOWN if touched else field
    axes = [
        through(axis, windows[dim - first]) if dim >= first else axis
        for dim, axis in zip(field.dims, field.axes, strict=True)
    ]
    return field._replace(axes=tuple(axes))


def union(fields: Sequence[Field]) -> Field | None:
    """Where several maps meet: from the first pixel that any sees to the last; None where none sees the image."""
    if not fields:
        return None
    if any(field.whole for field in fields):
        return IMAGE
    first = fields[0]
    if any(not field.known or field.places != first.places for field in fields):
        return UNKNOWN
    axes = []
    for together in zip(*(field.axes for field in fields), strict=True):
        if any(not math.isclose(axis.stride, together[0].stride) for axis in together):
            return UNKNOWN
        start = min(axis.start for axis in together)
        axes.append(Axis(max(axis.start + axis.size for axis in together) - start, together[0].stride, start))
    return first._replace(axes=tuple(axes))


def reshaped(field: Field, before: Shape, after: Shape) -> Field:
    """After a view: height and width stay where as many units stand before them, or they are flattened, or unfolded."""
    if not field.axes:
        return field
    found = [_stays(dim, before, after) for dim in field.places]
    if None not in found and len(set(found)) == len(found):
        stays = dict(zip(field.places, found, strict=True))
        return field.placed(lambda dim: stays[dim] or 0)
    if field.sides and before[field.flat[0]] == math.prod(field.sides):
        first = _unfolds(field.flat[0], field.sides, before, after)
        if first is not None:
            return Field((first, first + 1), field.axes)
    places = [_holds(dim, before, after) for dim in field.places]
    if None in places:
        return UNKNOWN
    flat = tuple(sorted({place for place in places if place is not None}))
    sides = tuple(before[dim] for dim in field.dims)
    row_by_row = len(sides) == 2 and field.dims[0] + 1 == field.dims[1] and after[flat[0]] == math.prod(sides)
    return Field((), field.axes, flat=flat, sides=sides if row_by_row else ())


def _stays(dim: int, before: Shape, after: Shape) -> int | None:
    """Where a dimension is found again: as long, and with as many units before it."""
    outer = math.prod(before[:dim])
    fitting = [p for p in range(len(after)) if after[p] == before[dim] and math.prod(after[:p]) == outer]
    if before[dim] == 1:  # several may fit: the one that stands as far from the end
        return next((p for p in fitting if len(after) - p == len(before) - dim), fitting[-1] if fitting else None)
    return fitting[0] if fitting else None


def _unfolds(dim: int, sides: Shape, before: Shape, after: Shape) -> int | None:
    """Where a flattened map begins once it is a map again."""
    outer = math.prod(before[:dim])
    places = range(len(after) - 1)
    return next((p for p in places if tuple(after[p : p + 2]) == sides and math.prod(after[:p]) == outer), None)


def _holds(dim: int, before: Shape, after: Shape) -> int | None:
    """Which dimension has taken a whole one up."""
    outer = math.prod(before[:dim])
    for place, side in enumerate(after):
        ahead = math.prod(after[:place])
        if outer % ahead == 0 and (ahead * side) % (outer * before[dim]) == 0:
            return place
    return None


def moved(field: Field, order: Sequence[int]) -> Field:
    """After a permutation of the dimensions."""
    return field.placed(list(order).index)


def contracted(field: Field, dims: Sequence[int], rank: int, *, keep: bool) -> Field:
    """After a mean, sum, maximum, softmax or norm over some dimensions.

    Over height or width it sees the image; over others nothing changes but the places, unless they are kept.
    """
    gone = {dim % rank for dim in dims} or set(range(rank))
    if not field.axes:
        return field
    if gone & set(field.places):
        return IMAGE
    return field if keep else field.placed(lambda dim: dim - sum(g < dim for g in gone))


def sliced(field: Field, dim: int, start: int, step: int) -> Field:
    """Every step-th unit from a start on, along one dimension."""
    axes = [
        Axis(axis.size, axis.stride * step, axis.start + start * axis.stride) if dim == place else axis
        for place, axis in zip(field.dims, field.axes, strict=False)
    ]
    if not field.dims:
        return field._replace(sides=()) if dim in field.flat else field
    return field._replace(axes=tuple(axes))


def padded(field: Field, pads: Sequence[int], rank: int) -> Field:
    """After padding, given as torch has it: from the last dimension on, before and after; less than 0 crops."""
    before = {rank - 1 - place // 2: pads[place] for place in range(0, len(pads), 2)}
    if not field.dims:
        return field._replace(sides=()) if set(before) & set(field.flat) else field
    axes = [
        axis._replace(start=axis.start - before.get(dim, 0) * axis.stride)
        for dim, axis in zip(field.dims, field.axes, strict=True)
    ]
    return field._replace(axes=tuple(axes))


class Interpolation(NamedTuple):
    """How a map is enlarged or reduced: a unit blends those from `first` to `last` around its place."""

    first: int
    last: int
    centred: bool  # whether a unit's place is its middle, not its edge
    corners: bool = False  # whether the outermost units fall on each other


def resampled(field: Field, before: Shape, after: Shape, how: Interpolation, scales: Sequence[float | None]) -> Field:
    """After enlarging or reducing a map by interpolation, by scales where they are given."""
    if not field.dims:
        return UNKNOWN if field.flat else field
    axes = [
        _resampled(axis, before[dim], after[dim], how, scale)
        for dim, axis, scale in zip(field.dims, field.axes, scales, strict=True)
    ]
    return field._replace(axes=tuple(axes))


def _resampled(axis: Axis, inside: int, outside: int, how: Interpolation, scale: float | None) -> Axis:
    if inside == outside:
        return axis
    step = 1 / scale if scale else inside / outside
    if how.corners:
        step = (inside - 1) / (outside - 1) if outside > 1 else 0
    first, last = how.first, how.last
    # The nearest unit is the one in which the place lies; those that are blended lie on its two sides.
    phase = (step - (last > first)) / 2 if how.centred and not how.corners else 0.0
    if step == int(step):  # all units fall alike: between two, or on one
        first, last = (first, last) if phase != int(phase) else (0, 0)
        phase = math.floor(phase)
    return through(axis, Window(last - first + 1, step, -phase - first))


def adaptive(inside: int, outside: int) -> Window | None:
    """The window of adaptive pooling from so many units to so many; None where it is all of them."""
    if outside == 1 and inside > 1:
        return None
    sizes = [-(-(i + 1) * inside // outside) - i * inside // outside for i in range(outside)]
    return Window(max(sizes), inside / outside, 0)
