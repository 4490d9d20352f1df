"""The parts of a network's picture: layers as boxes, blocks of lanes side by side, feature maps as solids to scale.

All lengths are inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from fovea.pictures.figure import GREY, INK, fit, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["convolution", "depthwise", "linear", "pooling", "normalisation", "activation", "attention", "other"]


Join = Literal["", "concat", "add", "multiply"]


COLORS: dict[Kind, str] = {
    "convolution": "#0072B2",
    "depthwise": "#56B4E9",
    "linear": "#D55E00",
    "pooling": "#E69F00",
    "normalisation": "#bdbdbd",
    "activation": "#F0E442",
    "attention": "#CC79A7",
    "other": "#009E73",
}


SMALL, NAMES = 6.5, 8.0  # points of the text in a box, and of a stage's name
BOX, GAP = 0.23, 0.1  # inches: height of a box, and between boxes
TALLEST, DEEPEST = 1.15, 0.85  # inches of a map of 256 pixels, and of 2,048 channels
DARK = ("convolution", "linear", "other")  # kinds whose text is white


LANE = 0.14  # inches between lanes


LONGEST = 1.9  # inches of a box's text, at most


SLANT = 0.4  # how a map's depth is drawn: to the right, and this much upwards


@dataclass(frozen=True)
class Box:
    """A layer.

    Args:
        name: Its own.
        text: What stands in it, such as "3×3, 64 /2".
        kind: Gives its colour.
        shape: What leaves it: (channels, height, width) or (units,).
        towers: 2 where it is split into halves that do not see each other; the text is then that of a half.
    """

    name: str
    text: str
    kind: Kind
    shape: tuple[int, ...]
    towers: int = 1


@dataclass(frozen=True)
class Block:
    """Layers between two points where one map is all there is.

    Args:
        lanes: What runs side by side; an empty lane is the identity.
        join: How the lanes meet.
        repeat: How many such blocks follow each other.
    """

    lanes: tuple[tuple[Box, ...], ...]
    join: Join = ""
    repeat: int = 1


@dataclass(frozen=True)
class Stage:
    """A stage: its name as the paper has it, the shape that leaves it, its blocks from top to bottom."""

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()


class Column(NamedTuple):
    """A stage with the room it takes: its left edge, its width, the depth of its blocks, in inches."""

    stage: Stage
    left: float
    width: float
    blocks: float


def wide_of(block: Block) -> float:
    """The width of a block with its frame and its factor."""
    inner = sum(_lane_width(lane) for lane in block.lanes) + LANE * (len(block.lanes) - 1)
    framed = len(block.lanes) > 1 or block.repeat > 1
    return inner + (2 * GAP if framed else 0) + (width(f"×{block.repeat}", NAMES) + 0.06 if block.repeat > 1 else 0)


def depth_of(block: Block) -> float:
    """How far a block reaches down."""
    longest = max(len(lane) for lane in block.lanes)
    framed = len(block.lanes) > 1 or block.repeat > 1
    return longest * (BOX + GAP) - GAP + (BOX if block.join else 0) + (2 * GAP if framed else 0)


def _lane_width(lane: Sequence[Box]) -> float:
    return max((box.towers * (min(width(box.text, SMALL), LONGEST) + 0.14) for box in lane), default=0.1)


def face_of(shape: Sequence[int]) -> float:
    """The side of a map in inches, by the square root of its pixels."""
    return float(TALLEST * (shape[-1] / 256) ** 0.5) if len(shape) == 3 else 0.07


def extent_of(shape: Sequence[int]) -> tuple[float, float, float]:
    """In inches: how far the depth goes to the right, the height of the face, how far the depth goes up."""
    deep = float(DEEPEST * (shape[0] / 2048) ** 0.5)
    return deep, face_of(shape), deep * SLANT


def draw_map(axes: Axes, column: Column, ground: float) -> None:
    """The map as a solid, its face and its depth to scale; in two halves where the stage's layers are split."""
    from matplotlib.patches import Polygon

    deep, face, up = extent_of(column.stage.shape)
    left = column.left + (column.width - face - deep) / 2
    towers = max((box.towers for block in column.stage.blocks for lane in block.lanes for box in lane), default=1)
    for tower in reversed(range(towers)):
        begin, part = tower / towers, 1 / towers - (0.08 if towers > 1 else 0)
        x, y = left + begin * deep, ground + begin * up
        dx, dy = part * deep, part * up
        sides = (
            ([(x, y), (x + face, y), (x + face, y + face), (x, y + face)], "#cfe3f1"),
            ([(x, y + face), (x + face, y + face), (x + face + dx, y + face + dy), (x + dx, y + face + dy)], "#e4eff7"),
            ([(x + face, y), (x + face, y + face), (x + face + dx, y + face + dy), (x + face + dx, y + dy)], "#a9cbe3"),
        )
        for corners, color in sides:
            axes.add_patch(Polygon(corners, facecolor=color, edgecolor="#5d87a6", linewidth=0.6, joinstyle="round"))


def draw_block(axes: Axes, block: Block, middle: float, top: float) -> None:
    """The block around a middle, downwards from its top."""
    framed = len(block.lanes) > 1 or block.repeat > 1
    whole, deep = wide_of(block), depth_of(block)
    left = middle - whole / 2
    factor = width(f"×{block.repeat}", NAMES) + 0.06 if block.repeat > 1 else 0
    if framed:
        _frame(axes, (left, top - deep), (whole - factor, deep))
    if factor:
        axes.text(left + whole, top - deep / 2, f"×{block.repeat}", ha="right", va="center", fontsize=NAMES)
    inside = top - GAP if framed else top
    longest = max(len(lane) for lane in block.lanes)
    bottom = inside - (longest * (BOX + GAP) - GAP)
    x = left + (GAP if framed else 0)
    middles = []
    for lane in block.lanes:
        wide = _lane_width(lane)
        middles.append(x + wide / 2)
        _draw_lane(axes, lane, (x + wide / 2, wide), (inside, bottom), bool(block.join))
        x += wide + LANE
    if block.join:
        for height in (inside + GAP / 2, bottom - BOX * 0.3):
            axes.plot([middles[0], middles[-1]], [height, height], color=GREY, linewidth=0.8, zorder=1)
        text = {"add": "+", "concat": "concatenate", "multiply": "×"}[block.join]
        axes.text(
            left + (whole - factor) / 2, bottom - BOX * 0.72, text, ha="center", va="center", fontsize=SMALL + 0.5
        )


def _draw_lane(
    axes: Axes, lane: Sequence[Box], across: tuple[float, float], between: tuple[float, float], joined: bool
) -> None:
    """The boxes of a lane from its top; lines lead to them and down to where the lanes meet."""
    middle, wide = across
    top, bottom = between
    if joined:
        axes.plot([middle, middle], [top + GAP / 2, bottom - BOX * 0.3], color=GREY, linewidth=0.8, zorder=1)
    elif len(lane) > 1:
        axes.plot([middle, middle], [top, top - len(lane) * (BOX + GAP) + GAP], color=GREY, linewidth=0.8, zorder=1)
    for place, box in enumerate(lane):
        _draw_box(axes, box, (middle - wide / 2, top - place * (BOX + GAP) - BOX), wide)


def _draw_box(axes: Axes, box: Box, corner: tuple[float, float], wide: float) -> None:
    from matplotlib.patches import Rectangle

    color = "white" if box.kind in DARK else INK
    text = fit(box.text, LONGEST, SMALL)
    part = wide / box.towers
    for tower in range(box.towers):
        middle = (corner[0] + (tower + 0.5) * part, corner[1] + BOX / 2)
        axes.text(*middle, text, ha="center", va="center_baseline", fontsize=SMALL, color=color)
        axes.add_patch(
            Rectangle(
                (corner[0] + tower * part, corner[1]),
                part,
                BOX,
                facecolor=COLORS[box.kind],
                edgecolor="white",
                linewidth=0.9,
            )
        )


def _frame(axes: Axes, corner: tuple[float, float], size: tuple[float, float]) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle(corner, *size, facecolor="#f6f6f6", edgecolor="#c8c8c8", linewidth=0.6, zorder=0))


def draw_arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place to another."""
    axes.annotate(
        "", end, begin, arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
    )
