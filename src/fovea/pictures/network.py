"""A convolutional network as its stages: the maps that leave them to scale, below each the layers that make them.

Stages stand in reading order and wrap like words; inside one, layers run downwards, branches side by side. What repeats
is drawn once with a factor. An empty lane is a shortcut past the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fovea.pictures.blocks import LEFT_OUT, Block, Box, Join, Kind, Stage, check, readable
from fovea.pictures.figure import GREY, fit, house_style, png, svg
from fovea.pictures.network_layout import (
    BETWEEN,
    BOLD,
    COLOURS,
    NAMED,
    SMALL,
    Scale,
    column_height,
    column_width,
    place_row,
    rows_of,
    scale_of,
    width,
)
from fovea.pictures.network_paper import SLANT, Paper, Word, painted, rectangle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Block", "Box", "Join", "Kind", "Stage", "draw", "network"]

NARROWEST = 5.0  # inches of a picture
MARGIN = 0.1  # inches around it
TITLES, ROW = 0.55, 0.3  # inches: title and subtitle, between rows of stages
KEY = 0.16  # inches of a colour in the legend
NOTE = "maps to scale: sides and depths grow with the square roots of pixels and channels"


def network(
    stages: Sequence[Stage],
    *,
    title: str,
    input_shape: tuple[int, ...],
    subtitle: str = "",
    form: Literal["png", "svg"] = "png",
) -> bytes:
    """The picture of a network; of one with too many layers to look at, the middles are left out and counted.

    Args:
        stages: In the order in which they run.
        title: Stands above.
        input_shape: Of an image: channels, height, width.
        subtitle: A line below the title.
        form: PNG, or SVG with its text as text.

    Raises:
        UsageError: there is no stage, or one that cannot be drawn.
    """
    return (svg if form == "svg" else png)(draw(stages, title=title, input_shape=input_shape, subtitle=subtitle))


def draw(stages: Sequence[Stage], *, title: str, input_shape: tuple[int, ...], subtitle: str = "") -> Figure:
    """The figure of `network`; its axes count inches from the lower left."""
    check(stages, input_shape)
    with house_style():
        columns = [Stage("image", input_shape), *readable(stages)]
        scale = scale_of([stage.shape for stage in columns])
        rows = rows_of([column_width(stage, scale) for stage in columns])
        across = max(NARROWEST, *(_across([columns[n] for n in row], scale) for row in rows))
        paper = Paper()
        y = -TITLES
        for row in rows:
            y = _row(paper, [columns[n] for n in row], scale, y)
        foot = _legend(paper, _kinds(stages), across, y)
        _titles(paper, title, subtitle, across)
        return painted(paper, across, foot)


def _across(row: Sequence[Stage], scale: Scale) -> float:
    return BETWEEN + sum(column_width(stage, scale) + BETWEEN for stage in row)


def _row(paper: Paper, row: Sequence[Stage], scale: Scale, top: float) -> float:
    """A row of stages below the top; gives where it ends."""
    solids = (scale.solid(stage.shape) for stage in row)
    ground = top - max(tall + SLANT * deep for _, tall, deep in solids)
    place_row(paper, row, scale, ground, first=top == -TITLES)
    return ground - NAMED - max(map(column_height, row)) - ROW


def _titles(paper: Paper, title: str, subtitle: str, across: float) -> None:
    room = across - 2 * MARGIN
    paper.words.append(Word((MARGIN, -0.1), fit(title, room / BOLD, 12.0), 12.0, bold=True, side="left"))
    if subtitle:
        paper.words.append(Word((MARGIN, -0.34), fit(subtitle, room, 9.0), 9.0, GREY, side="left"))


def _kinds(stages: Sequence[Stage]) -> list[str]:
    """The kinds that occur, in the order of the legend."""
    boxes = (box for stage in stages for block in stage.blocks for lane in block.lanes for box in lane)
    found = {box.kind for box in boxes if box.name != LEFT_OUT}
    return [kind for kind in COLOURS if kind in found]


def _legend(paper: Paper, kinds: Sequence[str], across: float, top: float) -> float:
    """The colours, wrapped like words, and how the maps are drawn; gives where it ends."""
    x, y = MARGIN, top - KEY / 2
    for kind in kinds:
        wide = KEY + 0.06 + width(kind, SMALL + 0.5)
        if x > MARGIN and x + wide > across - MARGIN:
            x, y = MARGIN, y - 0.24
        paper.areas.append(rectangle((x, y - KEY / 2), (KEY, KEY), COLOURS[kind], "white"))
        paper.words.append(Word((x + KEY + 0.05, y), kind, SMALL + 0.5, side="left"))
        x += wide + 0.16
    y -= 0.24 if kinds else 0.0
    paper.words.append(Word((MARGIN, y), fit(NOTE, across - 2 * MARGIN, SMALL), SMALL, GREY, side="left"))
    return y - MARGIN
