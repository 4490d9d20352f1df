"""What is done to tensors that other libraries keep in another form, and how it is undone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Change(NamedTuple):
    """From their form of a tensor to ours, and back.

    Args:
        words: What is done on the way in.
        dimensions: How many their tensor has.
        inward: Makes ours of theirs; it may raise RuntimeError where a tensor cannot be one of theirs.
        outward: Makes theirs of ours, likewise.
        layer: What Keras 3 calls the kind of layer that has such a tensor; "" where no file of Keras has it.
    """

    words: str
    dimensions: int
    inward: Callable[[Tensor], Tensor]
    outward: Callable[[Tensor], Tensor]
    layer: str = ""

    def ours(self, tensor: Tensor) -> Tensor | None:
        """Their tensor in our form; None where it cannot be had."""
        if tensor.ndim != self.dimensions:
            return None
        try:
            return self.inward(tensor)
        except RuntimeError:  # sizes that do not divide
            return None


Changes = tuple[tuple[str, Change], ...]
"""Pairs of a regular expression on our key and what is done to its tensor; the first that matches wins."""

KERNELS = Change(
    "transposed from height, width, in, out",
    4,
    lambda tensor: tensor.permute(3, 2, 0, 1),
    lambda tensor: tensor.permute(2, 3, 1, 0),
    "conv2d",
)
DEPTHWISE = Change(
    "transposed from height, width, channel, 1",
    4,
    lambda tensor: tensor.permute(2, 3, 0, 1),
    lambda tensor: tensor.permute(2, 3, 0, 1),
    "depthwise_conv2d",
)
DENSE = Change("transposed from in, out", 2, lambda tensor: tensor.T, lambda tensor: tensor.T, "dense")
POINTWISE = Change(  # a 1×1 convolution over one pixel
    "a linear layer, transposed from 1, 1, in, out",
    4,
    lambda tensor: tensor.flatten(0, 2).T,
    lambda tensor: tensor.T[None, None],
    "conv2d",
)


def flattened(channels: int) -> Change:
    """A linear layer behind maps that they flatten with their channels last, and we with ours first.

    Args:
        channels: Of the maps, which are square.
    """

    def inward(tensor: Tensor) -> Tensor:
        side = math.isqrt(len(tensor) // channels)
        return tensor.reshape(side, side, channels, -1).permute(3, 2, 0, 1).flatten(1)

    def outward(tensor: Tensor) -> Tensor:
        side = math.isqrt(tensor.shape[1] // channels)
        return tensor.reshape(-1, channels, side, side).permute(2, 3, 1, 0).flatten(0, 2)

    return Change("transposed from (height, width, channel), out", 2, inward, outward, "dense")


def convolution(channels: int) -> Change:
    """A linear layer that is a convolution over the whole map with them: the same numbers in the same order.

    Args:
        channels: Of the maps, which are square.
    """

    def outward(tensor: Tensor) -> Tensor:
        side = math.isqrt(tensor.shape[1] // channels)
        return tensor.reshape(-1, channels, side, side)

    return Change("the same numbers in the same order", 4, lambda tensor: tensor.flatten(1), outward)


def wider(difference: float) -> Change:
    """A running variance that takes up by how much their normalisation's eps is above ours, so that the sum is theirs.

    Args:
        difference: Their eps less ours.
    """
    return Change(
        f"{difference:g} added, by which their eps is above ours",
        1,
        lambda tensor: tensor + difference,
        lambda tensor: tensor - difference,
    )
