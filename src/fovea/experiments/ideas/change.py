"""What switching an idea off does: to a network, in place, or to the options it trains with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fovea.training.options import TrainingOptions

Shape = tuple[int, int, int]  # of an image: channels, height, width
InNetwork = Callable[[nn.Module, Shape], int]
InOptions = Callable[[TrainingOptions], TrainingOptions]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One way of doing without an idea.

    Args:
        words: What is there instead.
        network: Changes a network in place, and says in how many places; None where it stays.
        options: Gives the options without the idea; None where they stay.
    """

    words: str
    network: InNetwork | None = None
    options: InOptions | None = None


@dataclass(frozen=True, kw_only=True)
class Idea:
    """Something that networks are made or trained with, and that can be done without.

    Args:
        words: What it is.
        source: Where it comes from.
        without: The ways of doing without it, by name.
        where: What has it, for the message that something has not.
    """

    words: str
    source: str
    without: dict[str, Change]
    where: str


def replaced(network: nn.Module, make: Callable[[Any], nn.Module | None]) -> int:
    """Put another module in the place of each that `make` gives one for; returns in how many places.

    A module that stands in several places is replaced by one. What is put in is not looked into.
    """
    made: dict[int, nn.Module | None] = {}
    count = 0
    for name, child in list(network.named_children()):
        if id(child) not in made:
            made[id(child)] = make(child)
        new = made[id(child)]
        if new is None:
            count += replaced(child, make)
        else:
            setattr(network, name, new)
            count += 1
    return count


def swapped(kinds: type[nn.Module] | tuple[type[nn.Module], ...], make: Callable[[Any], nn.Module]) -> InNetwork:
    """A change that puts `make(module)` in the place of every module of these kinds."""
    return lambda network, _shape: replaced(network, lambda module: make(module) if isinstance(module, kinds) else None)


def told_otherwise(**values: Any) -> InOptions:
    """A change of options by their names."""
    return lambda options: options.but(**values)
