"""A picture in tiles that are worked on one by one, with what surrounds them, so that their inside is exact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fovea.cost.receptive_field import Axis, Field
from fovea.errors import ModelError

Size = tuple[int, int]  # height and width
Spans = tuple[slice, slice]  # rows and columns


class Tile(NamedTuple):
    """One tile.

    Args:
        around: The pixels that are shown to the network.
        inside: By layer the places, of the maps of what is shown, that belong to this tile.
        places: The same places, of the maps of the whole picture.
    """

    around: Spans
    inside: dict[str, Spans]
    places: dict[str, Spans]


def whole(layers: Iterable[str]) -> Tile:
    """The picture as one tile."""
    everything = (slice(None), slice(None))
    return Tile(everything, dict.fromkeys(layers, everything), dict.fromkeys(layers, everything))


class Grid(NamedTuple):
    """How tiles can be cut for some layers.

    Args:
        strides: Pixels between two places, by layer.
        step: Where tiles may begin: multiples of so many pixels.
        margin: How many pixels more are shown on each side.
    """

    strides: dict[str, int]
    step: int
    margin: int


def grid_of(fields: Mapping[str, Field]) -> Grid:
    """How tiles can be cut for layers of these receptive fields.

    Raises:
        ModelError: a layer sees the whole picture, or nobody knows what it sees.
    """
    for name, field in fields.items():
        axes = field.axes
        if not field.known or len(axes) != 2 or axes[0] != axes[1] or any(int(each) != each for each in axes[0]):
            raise ModelError(
                f"what {name} sees is the whole picture, or cannot be told, so the picture cannot be cut into tiles; "
                f"take a smaller size, earlier layers, or more --memory"
            )
    axes_of = {name: field.axes[0] for name, field in fields.items()}
    step = math.lcm(*(int(axis.stride) for axis in axes_of.values()))
    margin = max(_beyond(axis) for axis in axes_of.values())
    return Grid({name: int(axis.stride) for name, axis in axes_of.items()}, step, -(-margin // step) * step)


def tiles_of(grid: Grid, size: Size, maps: Mapping[str, Size], side: int) -> list[Tile]:
    """Tiles that cover a picture.

    Args:
        grid: How they can be cut.
        size: Of the picture.
        maps: Of each layer's maps.
        side: Of a tile in pixels, without its margins; a multiple of the grid's step.
    """
    found = []
    for top in _starts(size[0], side, grid.step):
        for left in _starts(size[1], side, grid.step):
            rows, columns = _span(top, side, size[0], grid), _span(left, side, size[1], grid)
            places, inside = {}, {}
            for name, stride in grid.strides.items():
                ends = (rows[1], columns[1])
                own = [
                    slice(begin // stride, sides if end == whole else end // stride)
                    for begin, end, whole, sides in zip((top, left), ends, size, maps[name], strict=True)
                ]
                shown = (rows[0].start // stride, columns[0].start // stride)
                places[name] = (own[0], own[1])
                moved = [slice(a.start - b, a.stop - b) for a, b in zip(own, shown, strict=True)]
                inside[name] = (moved[0], moved[1])
            found.append(Tile((rows[0], columns[0]), inside, places))
    return found


def _beyond(axis: Axis) -> int:
    """How many pixels a place sees beyond its own stride, on the side where it sees more."""
    return max(0, -int(axis.start), int(axis.start + axis.size - axis.stride))


def _starts(whole: int, side: int, step: int) -> list[int]:
    """Where tiles begin; what remains at the end, if too little for a place of each layer, joins the last of them."""
    starts = list(range(0, whole, side))
    return starts[:-1] if len(starts) > 1 and whole - starts[-1] < step else starts


def _span(start: int, side: int, whole: int, grid: Grid) -> tuple[slice, int]:
    """The pixels shown, and where the tile itself ends."""
    end = start + side
    end = whole if whole - end < grid.step else end
    return slice(max(0, start - grid.margin), min(whole, end + grid.margin)), end
