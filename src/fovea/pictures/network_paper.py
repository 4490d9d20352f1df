"""Outlines, lines and words on paper, in inches from its upper left corner (upwards is positive), and their figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fovea.pictures.figure import INK, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT, TOP, SIDE, EDGE, LINE = "#cfe3f1", "#e4eff7", "#a9cbe3", "#5d87a6", "#8a8a8a"
SLANT = 0.4  # how depth is drawn: to the right, and this much upwards

Place = tuple[float, float]


class Area(NamedTuple):
    """A filled outline; level 0 lies below the lines, 1 above."""

    corners: Sequence[Place]
    face: str
    edge: str
    level: int = 1


class Word(NamedTuple):
    """A text in one line, around a place, to its right ("left": it begins there) or to its left."""

    place: Place
    text: str
    points: float
    colour: str = INK
    bold: bool = False
    side: Literal["left", "center", "right"] = "center"


@dataclass
class Paper:
    """Everything that is painted."""

    areas: list[Area] = field(default_factory=list)
    lines: list[tuple[Place, Place]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


def rectangle(corner: Place, size: Place, face: str, edge: str, level: int = 1) -> Area:
    """A rectangle by its lower left corner."""
    (x, y), (wide, tall) = corner, size
    return Area([(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)], face, edge, level)


def pill(middle: Place, wide: float, tall: float) -> Area:
    """A rectangle whose short sides are half circles; a circle where it is as wide as tall."""
    radius, half = tall / 2, max(0.0, (wide - tall) / 2)
    turns = [(n * pi / 12, half if n <= 6 or n > 18 else -half) for n in range(24)]
    corners = [(middle[0] + out + radius * cos(turn), middle[1] + radius * sin(turn)) for turn, out in turns]
    return Area(corners, "white", LINE)


def cuboid(corner: Place, front: Place, deep: float) -> list[Area]:
    """A solid by the lower left corner of its front, seen from the upper right."""
    (x, y), (wide, tall), up = corner, front, SLANT * deep
    right, top = x + wide, y + tall
    return [
        Area([(x, y), (right, y), (right, top), (x, top)], FRONT, EDGE),
        Area([(x, top), (right, top), (right + deep, top + up), (x + deep, top + up)], TOP, EDGE),
        Area([(right, y), (right, top), (right + deep, top + up), (right + deep, y + up)], SIDE, EDGE),
    ]


def arrow(paper: Paper, start: Place, end: float) -> None:
    """To the right, with a head."""
    _, y = start
    paper.lines.append((start, (end - 0.05, y)))
    paper.areas.append(Area([(end - 0.09, y + 0.03), (end, y), (end - 0.09, y - 0.03)], LINE, LINE))


def painted(paper: Paper, across: float, foot: float) -> Figure:
    """What stands on the paper, on a sheet just large enough."""
    figure = sheet(across, -foot, "")
    figure.set_layout_engine("none")  # everything has its place in inches
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, across), ylim=(foot, 0))
    axes.axis("off")
    _shapes(axes, paper)
    for place, text, points, colour, bold, side in paper.words:
        style: dict[str, Any] = {"fontsize": points, "color": colour, "fontweight": "bold" if bold else "normal"}
        word = axes.text(*place, text, ha=side, va="center_baseline", **style)
        word.set_in_layout(False)  # the sheet is the picture: to measure every word again takes as long as to draw it
    return figure


def _shapes(axes: Axes, paper: Paper) -> None:
    """Frames, above them lines, above those boxes and solids: three artists, however many shapes there are."""
    from matplotlib.collections import LineCollection, PolyCollection

    axes.add_collection(LineCollection(paper.lines, colors=LINE, linewidths=0.8, zorder=2), autolim=False)
    for level in (0, 1):
        areas = [area for area in paper.areas if area.level == level]
        shapes = PolyCollection([area.corners for area in areas], linewidths=0.6, zorder=1 + 2 * level)
        shapes.set(facecolors=[area.face for area in areas], edgecolors=[area.edge for area in areas])
        axes.add_collection(shapes, autolim=False)
