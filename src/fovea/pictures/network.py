"""A convolutional network as its stages: the maps that leave them to scale, below each the layers that make them.

Stages stand in reading order and wrap like words; inside one, layers run downwards, branches side by side. What repeats
is drawn once with a factor. An empty lane is a shortcut past the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fovea.errors import UsageError
from fovea.pictures.blocks import (
    COLORS,
    GAP,
    NAMES,
    SMALL,
    Column,
    Stage,
    depth_of,
    draw_arrow,
    draw_block,
    draw_map,
    extent_of,
    face_of,
    wide_of,
)
from fovea.pictures.figure import GREY, fit, house_style, png, sheet, svg, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 15.0  # inches of a row of stages
BETWEEN = 0.32  # inches between stages


def network(
    stages: Sequence[Stage],
    *,
    title: str,
    input_shape: tuple[int, ...],
    subtitle: str = "",
    form: Literal["png", "svg"] = "png",
) -> bytes:
    """The picture of a network.

    Args:
        stages: In the order in which they run.
        title: Stands above.
        input_shape: Of an image: channels, height, width.
        subtitle: A line below the title.
        form: PNG, or SVG with its text as text.

    Raises:
        UsageError: there is no stage.
    """
    return (svg if form == "svg" else png)(draw(stages, title=title, input_shape=input_shape, subtitle=subtitle))


def draw(stages: Sequence[Stage], *, title: str, input_shape: tuple[int, ...], subtitle: str = "") -> Figure:
    """The figure of `network`."""
    if not stages:
        raise UsageError(f"{title}: there is no stage to draw; a picture wants at least one")
    with house_style():
        rows = _rows([Stage("image", input_shape), *stages])
        across = max(column.left + column.width for row in rows for column in row) + BETWEEN
        heights = [_height(row) for row in rows]
        tall = sum(heights) + 0.95
        figure = sheet(max(across, 5.0), tall, "")
        figure.set_layout_engine("none")  # everything has its place in inches
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, max(across, 5.0)), ylim=(0, tall))
        axes.axis("off")
        top = tall - 0.55
        axes.text(0.1, tall, fit(title, across, 12.0), fontsize=12, fontweight="bold", va="top")
        axes.text(0.1, tall - 0.25, subtitle, color=GREY, va="top")
        for row, height in zip(rows, heights, strict=True):
            _draw_row(axes, row, top)
            top -= height
        _legend(axes, stages)
    return figure


def _rows(stages: Sequence[Stage]) -> list[list[Column]]:
    """The stages in as few rows as they need, a little wider for one row fewer, and about equally long."""
    wide = _filled(stages, ACROSS * 1.15)
    count = len(wide) if len(wide) < len(_filled(stages, ACROSS)) else len(_filled(stages, ACROSS))
    limits = (ACROSS * (0.5 + 0.01 * step) for step in range(66))
    return next((rows for limit in limits if len(rows := _filled(stages, limit)) <= count), wide)


def _filled(stages: Sequence[Stage], across: float) -> list[list[Column]]:
    """The stages as columns, a new row where the old one is full."""
    rows: list[list[Column]] = [[]]
    left = BETWEEN / 2
    for stage in stages:
        room = _room(stage)
        if rows[-1] and left + room > across:
            rows.append([])
            left = BETWEEN / 2
        rows[-1].append(Column(stage, left, room, sum(depth_of(block) + GAP for block in stage.blocks)))
        left += room + BETWEEN
    return rows


def _height(row: Sequence[Column]) -> float:
    maps = max(sum(extent_of(column.stage.shape)[1:]) for column in row)
    return maps + 0.5 + max(column.blocks for column in row) + 0.35


def _room(stage: Stage) -> float:
    deep, _, _ = extent_of(stage.shape)
    names = max(width(stage.name, NAMES) * 1.12, width(_shape(stage.shape), SMALL))
    blocks = max((wide_of(block) for block in stage.blocks), default=0.0)
    return max(face_of(stage.shape) + deep, names, blocks)


def _draw_row(axes: Axes, row: Sequence[Column], top: float) -> None:
    ground = top - max(sum(extent_of(column.stage.shape)[1:]) for column in row)
    for place, column in enumerate(row):
        draw_map(axes, column, ground)
        middle = column.left + column.width / 2
        axes.text(middle, ground - 0.06, column.stage.name, ha="center", va="top", fontsize=NAMES, fontweight="bold")
        shape = _shape(column.stage.shape)
        axes.text(middle, ground - 0.23, shape, ha="center", va="top", fontsize=SMALL, color=GREY)
        if place:
            draw_arrow(axes, (column.left - BETWEEN * 0.8, ground + 0.03), (column.left - BETWEEN * 0.2, ground + 0.03))
        below = ground - 0.45
        for block in column.stage.blocks:
            draw_block(axes, block, middle, below)
            below -= depth_of(block) + GAP


def _legend(axes: Axes, stages: Sequence[Stage]) -> None:
    """The colours that occur, and how the maps are drawn."""
    from matplotlib.patches import Rectangle

    boxes = [box for stage in stages for block in stage.blocks for lane in block.lanes for box in lane]
    x, y = 0.1, 0.16
    for kind in (kind for kind in COLORS if any(box.kind == kind for box in boxes)):
        axes.add_patch(Rectangle((x, y), 0.16, 0.16, facecolor=COLORS[kind], edgecolor="none"))
        axes.text(x + 0.21, y + 0.08, kind, va="center", fontsize=SMALL + 0.5)
        x += 0.36 + width(kind, SMALL + 0.5)
    note = "maps to scale: sides and depths by the square roots of pixels and channels"
    axes.text(0.1, 0.0, note, fontsize=SMALL, color=GREY, va="center")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
