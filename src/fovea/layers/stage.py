"""A stage: blocks of one width one after another, of which the first may halve the resolution."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn

from fovea.errors import ShapeError


@runtime_checkable
class Block(Protocol):
    """What makes a block: a block's class, or one with options filled in by `functools.partial`.

    The module has `out_channels`.
    """

    def __call__(self, in_channels: int, width: int, *, stride: int = 1) -> nn.Module:
        """A block for maps of so many channels, with a width, and a step in pixels."""
        ...


class Stage(nn.Sequential):
    """Repeated blocks of equal width.

    Args:
        block: Makes a block from the channels that come in and the width; the first one also gets the stride.
        in_channels: Channels of the input.
        width: The blocks' width.
        depth: Number of blocks.
        stride: Step of the first block, in pixels of the input.
        first: Makes the first block, where it is of another kind than the rest.

    Raises:
        ShapeError: depth is below 1.
    """

    def __init__(
        self,
        block: Block,
        in_channels: int,
        width: int,
        depth: int,
        *,
        stride: int = 1,
        first: Block | None = None,
    ) -> None:
        if depth < 1:
            raise ShapeError(f"depth (={depth}) of a stage must be 1 or more")
        blocks = [(first or block)(in_channels, width, stride=stride)]
        for _ in range(depth - 1):
            blocks.append(block(_out_channels(blocks[-1]), width))
        super().__init__(*blocks)
        self.out_channels = _out_channels(blocks[-1])


def _out_channels(block: nn.Module) -> int:
    channels = getattr(block, "out_channels", None)
    if not isinstance(channels, int):
        raise ShapeError(f"{type(block).__name__} does not say how many channels leave it: give it out_channels")
    return channels
