"""Where everything of a network's picture stands, in inches from the lower left: measured once, then only painted.

A stage is a column: its map as a solid standing on the row's ground, its name and shape, its blocks below each other.
Through a column's middle runs the spine, the way that the maps take from block to block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from fovea.pictures import figure
from fovea.pictures.blocks import LEFT_OUT, Block, Box, Stage
from fovea.pictures.figure import GREY, INK, fit
from fovea.pictures.network_paper import SLANT, Paper, Place, Word, arrow, cuboid, pill, rectangle

COLOURS = {
    "convolution": "#0072B2",
    "depthwise": "#56B4E9",
    "linear": "#D55E00",
    "pooling": "#E69F00",
    "normalisation": "#bdbdbd",
    "activation": "#F0E442",
    "attention": "#CC79A7",
    "other": "#009E73",
}
DARK = ("convolution", "linear", "other")  # kinds whose text is white
MARKS = {"add": "+", "concat": "concatenate", "multiply": "×"}
FRAME, FRAME_EDGE = "#f6f6f6", "#c8c8c8"
WIDEST = 17.0  # inches of a row of stages
SMALL, MARK, NAMES = 6.5, 7.0, 8.0  # points of the text in a box, of a join, of a stage's name
BOLD = 1.2  # how much wider bold text is, at most
LONGEST, LONGEST_NAME = 1.9, 2.2  # inches of a box's text and of a stage's name
BOX, GAP, LANE = 0.23, 0.1, 0.14  # inches: height of a box, between boxes, between lanes
PAD, BAR, FOOT = 0.12, 0.09, 0.31  # inside a frame: its sides, from a bar to boxes, from a bar to the frame's foot
HIGH = 0.17  # inches of the mark of a join
BETWEEN = 0.36  # inches between stages
NAMED = 0.45  # inches below the ground for name and shape
TALLEST, DEEPEST = 1.15, 1.0  # inches of the largest map's side, and of the most channels
PIXELS, CHANNELS = 64, 1024  # at least that many are what is drawn so large


class Scale(NamedTuple):
    """Inches of a side of one pixel, and of the depth of one channel; both grow with the square root."""

    pixel: float
    channel: float

    def solid(self, shape: Sequence[int]) -> tuple[float, float, float]:
        """Width, height and depth of a map in inches; a vector is a bar."""
        height, width = shape[-2:] if len(shape) == 3 else (1, 1)
        channels = shape[0] if len(shape) == 3 else shape[-1]
        return max(0.06, self.pixel * width**0.5), max(0.06, self.pixel * height**0.5), self.channel * channels**0.5


@lru_cache(maxsize=4096)
def width(text: str, points: float) -> float:
    """The same text stands in many boxes; measuring is what takes time."""
    return figure.width(text, points)


@lru_cache(maxsize=4096)
def fitted(text: str, inches: float, points: float) -> str:
    """The text, cut to its room, once."""
    return fit(text, inches, points)


def scale_of(shapes: Sequence[Sequence[int]]) -> Scale:
    """The scale at which the largest map and the most channels just fit."""
    sides = max((side for shape in shapes if len(shape) == 3 for side in shape[1:]), default=PIXELS)
    channels = max(shape[0] if len(shape) == 3 else shape[-1] for shape in shapes)
    return Scale(TALLEST / max(sides, PIXELS) ** 0.5, DEEPEST / max(channels, CHANNELS) ** 0.5)


def written(shape: Sequence[int]) -> str:
    """A shape as C×H×W."""
    return "×".join(map(str, shape))


# --- sizes -----------------------------------------------------------------------------------------------------------


def framed(block: Block) -> bool:
    """Whether a block is more than a chain."""
    return len(block.lanes) > 1 or block.repeat > 1


def lane_width(lane: Sequence[Box]) -> float:
    """Of the widest box; of an identity, room for its line."""
    texts = ((box.towers, width(fitted(box.text, LONGEST, SMALL), SMALL)) for box in lane)
    return max((towers * (text + 0.14) for towers, text in texts), default=0.12)


def lane_height(lane: Sequence[Box]) -> float:
    """Of the boxes below each other."""
    return len(lane) * (BOX + GAP) - GAP if lane else 0.0


def block_size(block: Block) -> tuple[float, float]:
    """Width and height of a block with its frame; the factor stands at the foot, right of the join."""
    lanes = sum(map(lane_width, block.lanes)) + LANE * (len(block.lanes) - 1)
    boxes = max(map(lane_height, block.lanes))
    if not framed(block):
        return lanes, boxes
    foot = _mark_width(block) + (2 * width(f"×{block.repeat}", NAMES) * BOLD + 0.12 if block.repeat > 1 else 0)
    return max(lanes, foot) + 2 * PAD, boxes + 2 * BAR + (BAR + FOOT if _meets(block) else PAD)


def _mark_width(block: Block) -> float:
    """A sign stands in a circle, a word in a pill."""
    text = MARKS.get(block.join, "")
    return width(text, MARK) + 0.14 if len(text) > 1 else HIGH if text else 0.0


def column_width(stage: Stage, scale: Scale) -> float:
    """Of a stage's map, names and blocks, whichever is widest."""
    wide, _, deep = scale.solid(stage.shape)
    name = width(fitted(stage.name, LONGEST_NAME / BOLD, NAMES), NAMES) * BOLD
    shape = width(fitted(written(stage.shape), LONGEST_NAME, SMALL), SMALL)
    return max(wide + deep, name, shape, *(block_size(block)[0] for block in stage.blocks))


def column_height(stage: Stage) -> float:
    """Of a stage's blocks below each other."""
    return sum(block_size(block)[1] + GAP for block in stage.blocks)


def rows_of(widths: Sequence[float]) -> list[list[int]]:
    """The columns by rows: as few rows as they need, about equally long."""
    widest = _filled(widths, WIDEST)
    limits = (WIDEST * (0.4 + 0.01 * step) for step in range(60))
    return next((rows for limit in limits if len(rows := _filled(widths, limit)) <= len(widest)), widest)


def _filled(widths: Sequence[float], across: float) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    left = BETWEEN
    for column, wide in enumerate(widths):
        if rows[-1] and left + wide + BETWEEN > across:
            rows.append([])
            left = BETWEEN
        rows[-1].append(column)
        left += wide + BETWEEN
    return rows


# --- places ----------------------------------------------------------------------------------------------------------


def place_row(paper: Paper, stages: Sequence[Stage], scale: Scale, ground: float, *, first: bool) -> None:
    """The stages side by side on the ground, joined by arrows; in all rows but the first one leads in."""
    left, ends = BETWEEN, [] if first else [(0.0, 0.0)]
    for stage in stages:
        wide = column_width(stage, scale)
        ends.append(_place_stage(paper, stage, scale, (left + wide / 2, ground)))
        left += wide + BETWEEN
    for (_, before), (after, _) in pairwise(ends):
        arrow(paper, (before + 0.06, ground + 0.05), after - 0.06)


def _place_stage(paper: Paper, stage: Stage, scale: Scale, foot: Place) -> Place:
    """A stage around its middle; gives where its solid begins and ends."""
    middle, y = foot
    name = fitted(stage.name, LONGEST_NAME / BOLD, NAMES)
    paper.words.append(Word((middle, y - 0.13), name, NAMES, bold=True))
    shape = fitted(written(stage.shape), LONGEST_NAME, SMALL)
    paper.words.append(Word((middle, y - 0.29), shape, SMALL, GREY))
    top = y - NAMED
    for place, block in enumerate(stage.blocks):
        if place:
            paper.lines.append(((middle, top + GAP), (middle, top)))
        _place_block(paper, block, (middle, top))
        top -= block_size(block)[1] + GAP
    return _place_solid(paper, stage, scale, foot)


def _place_solid(paper: Paper, stage: Stage, scale: Scale, foot: Place) -> Place:
    """The map, its sides and its depth to scale; in two halves where the stage's layers are split."""
    wide, tall, deep = scale.solid(stage.shape)
    left = foot[0] - (wide + deep) / 2
    boxes = (box for block in stage.blocks for lane in block.lanes for box in lane)
    towers = max((box.towers for box in boxes), default=1)
    for tower in reversed(range(towers)):
        along = tower / towers * deep
        part = deep / towers * (1.0 if towers == 1 else 0.82)
        paper.areas += cuboid((left + along, foot[1] + SLANT * along), (wide, tall), part)
    return left, left + wide + deep


def _place_block(paper: Paper, block: Block, head: Place) -> None:
    """A block below its head, the middle of its upper edge."""
    (middle, top), (wide, tall) = head, block_size(block)
    if not framed(block):
        _place_lane(paper, block.lanes[0], head, wide)
        return
    for back in (0.05, 0.0) if block.repeat > 1 else (0.0,):  # what repeats lies on a second sheet
        corner = (middle - wide / 2 + back, top - tall - back / 2)
        paper.areas.append(rectangle(corner, (wide, tall), FRAME, FRAME_EDGE, 0))
    fork, meeting = top - BAR, top - 3 * BAR - max(map(lane_height, block.lanes))
    places = _place_lanes(paper, block, middle, (fork, meeting))
    paper.lines += [(head, (middle, fork)), ((places[0], fork), (places[-1], fork))]
    if _meets(block):
        paper.lines += [((places[0], meeting), (places[-1], meeting)), ((middle, meeting), (middle, top - tall))]
    _place_foot(paper, block, (middle, meeting - FOOT / 2), middle + wide / 2)


def _meets(block: Block) -> bool:
    """Whether one way leads out of a block."""
    return bool(block.join) or block.repeat > 1


def _place_lanes(paper: Paper, block: Block, middle: float, bars: Place) -> list[float]:
    """The lanes between their bars, each halfway down; gives their middles."""
    places = _lane_places(block, middle)
    fork, meeting = bars
    for lane, place in zip(block.lanes, places, strict=True):
        top = (fork + meeting + lane_height(lane)) / 2
        paper.lines.append(((place, fork), (place, meeting if _meets(block) else top - lane_height(lane))))
        _place_lane(paper, lane, (place, top), lane_width(lane))
    return places


def _lane_places(block: Block, middle: float) -> list[float]:
    """The middles of the lanes, which stand around the block's."""
    widths = list(map(lane_width, block.lanes))
    left = middle - (sum(widths) + LANE * (len(widths) - 1)) / 2
    return [left + sum(widths[:lane]) + LANE * lane + wide / 2 for lane, wide in enumerate(widths)]


def _place_foot(paper: Paper, block: Block, place: Place, right: float) -> None:
    """How the lanes meet, and how many such blocks there are."""
    if block.join:
        paper.areas.append(pill(place, _mark_width(block), HIGH))
        paper.words.append(Word(place, MARKS[block.join], MARK))
    if block.repeat > 1:
        paper.words.append(Word((right - 0.06, place[1]), f"×{block.repeat}", NAMES, bold=True, side="right"))


def _place_lane(paper: Paper, lane: Sequence[Box], head: Place, wide: float) -> None:
    middle, top = head
    if lane:
        paper.lines.append((head, (middle, top - lane_height(lane))))
    for box in lane:
        _place_box(paper, box, (middle - wide / 2, top - BOX), wide)
        top -= BOX + GAP


def _place_box(paper: Paper, box: Box, corner: Place, wide: float) -> None:
    out = box.name == LEFT_OUT and not box.shape
    face, ink = (FRAME, GREY) if out else (COLOURS[box.kind], "white" if box.kind in DARK else INK)
    part = wide / box.towers
    for tower in range(box.towers):
        left = corner[0] + tower * part
        paper.areas.append(rectangle((left, corner[1]), (part, BOX), face, FRAME_EDGE if out else "white"))
        text = fitted(box.text, LONGEST, SMALL)
        paper.words.append(Word((left + part / 2, corner[1] + BOX / 2), text, SMALL, ink))
