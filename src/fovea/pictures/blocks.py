"""What a network is drawn from, as values: stages of blocks of lanes of boxes; where they are many, fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

from fovea.errors import UsageError

Kind = Literal["convolution", "depthwise", "linear", "pooling", "normalisation", "activation", "attention", "other"]
Join = Literal["", "concat", "add", "multiply"]
LEFT_OUT = "left out"  # the name of what stands for layers that are not drawn
MOST, LONGEST_COLUMN = 1200, 70  # boxes of a picture, and below each other, that are still looked at
FEWER = ((60, 20), (60, 12), (40, 8), (24, 6), (12, 4), (6, 4))  # stages, and parts of anything inside one
MOST_LANES = 16  # side by side, in any picture
Part = TypeVar("Part")


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


def check(stages: Sequence[Stage], input_shape: Sequence[int]) -> None:
    """Refuse what cannot be drawn.

    Raises:
        UsageError: there is no stage, a shape without or with empty sides, or a block that says nothing drawable.
    """
    if not stages:
        raise UsageError("there is no stage to draw; a network wants at least one")
    for name, shape in (("the image", input_shape), *((stage.name, stage.shape) for stage in stages)):
        if not shape or min(shape) < 1:
            raise UsageError(
                f"shape of {name} (={tuple(shape)}) must be channels, height, width or units, each 1 or more"
            )
    for stage in stages:
        for block in stage.blocks:
            _check_block(stage.name, block)


def _check_block(stage: str, block: Block) -> None:
    if not block.lanes:
        raise UsageError(f"a block of {stage} has no lanes; it wants at least one, empty for the identity")
    if block.repeat < 1:
        raise UsageError(f"repeat of a block of {stage} (={block.repeat}) must be 1 or more")
    if block.join not in get_args(Join):
        raise UsageError(f"join of a block of {stage} (={block.join!r}) must be one of {', '.join(get_args(Join)[1:])}")
    for box in (box for lane in block.lanes for box in lane):
        if box.kind not in get_args(Kind):
            raise UsageError(f"kind of {box.name} (={box.kind!r}) must be one of {', '.join(get_args(Kind))}")
        if box.towers not in (1, 2):
            raise UsageError(f"towers of {box.name} (={box.towers}) must be 1 or 2")


def readable(stages: Sequence[Stage]) -> list[Stage]:
    """The stages as they are, or where they are too many to look at, with the middle of what is long left out."""
    shown = [_with_fewer(stage, lambda lanes: _fewer(lanes, MOST_LANES, _lane)) for stage in stages]
    for most, inside in FEWER:
        tallest = max(sum(max(map(len, block.lanes)) for block in stage.blocks) for stage in shown)
        boxes = sum(len(lane) for stage in shown for block in stage.blocks for lane in block.lanes)
        if boxes <= MOST and tallest <= LONGEST_COLUMN and len(shown) <= FEWER[0][0]:
            break
        shown = [_shortened(stage, inside) for stage in _fewer(stages, most, _stage)]
    return shown


def _shortened(stage: Stage, most: int) -> Stage:
    """A stage with at most so many blocks, of at most so many lanes, of at most so many boxes."""
    blocks = tuple(_fewer(stage.blocks, most, _block))
    stage = replace(stage, blocks=blocks)
    return _with_fewer(stage, lambda lanes: [tuple(_fewer(lane, most, _box)) for lane in _fewer(lanes, most, _lane)])


def _with_fewer(stage: Stage, fewer: Callable[[Sequence[tuple[Box, ...]]], list[tuple[Box, ...]]]) -> Stage:
    return replace(stage, blocks=tuple(replace(block, lanes=tuple(fewer(block.lanes))) for block in stage.blocks))


def _fewer(parts: Sequence[Part], most: int, stand_in: Callable[[Sequence[Part]], Part]) -> list[Part]:
    """The first and the last parts, and between them one that stands for all others."""
    if len(parts) <= most:
        return list(parts)
    first, last = most // 2, (most - 1) // 2
    return [*parts[:first], stand_in(parts[first : len(parts) - last]), *parts[len(parts) - last :]]


def _left_out(count: int, what: str) -> Box:
    return Box(LEFT_OUT, f"… {count:,} more {what} …", "other", ())


def _box(boxes: Sequence[Box]) -> Box:
    return _left_out(len(boxes), "layers")


def _lane(lanes: Sequence[tuple[Box, ...]]) -> tuple[Box, ...]:
    return (_left_out(len(lanes), "lanes"),)


def _block(blocks: Sequence[Block]) -> Block:
    return Block(((_left_out(sum(block.repeat for block in blocks), "blocks"),),))


def _stage(stages: Sequence[Stage]) -> Stage:
    return Stage(f"… {len(stages):,} more stages …", stages[-1].shape)
