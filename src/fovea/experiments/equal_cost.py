"""Networks made as dear as another, by the one option that is left free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fovea.cost.count import multiply_adds
from fovea.errors import FoveaError, UsageError

REACH = 8  # times the option's own value that is tried, up and down
STEPS = 40  # of a search


def nearest(build: Callable[[Any], nn.Module], own: Any, wanted: int, *, name: str) -> tuple[Any, int]:
    """The value of an option with which a network costs closest to so many multiply-adds, and what it then costs.

    Whole numbers are tried one by one, others by halving: cost must grow with the option. Values that the network does
    not take are passed over.

    Args:
        build: Makes the network from a value.
        own: The option's usual value, which says of what kind it is.
        wanted: Multiply-adds of an image.
        name: The option, for messages.

    Raises:
        UsageError: the option is no number, or no value comes within a factor of two.
    """
    if isinstance(own, bool) or not isinstance(own, int | float) or own <= 0:
        raise UsageError(f"{name} (={own!r}) cannot be searched: it must be a number above 0")
    with torch.device("meta"):  # a network is counted without its weights
        costs = _whole(build, own, wanted) if isinstance(own, int) else _halved(build, own, wanted)
    if not costs:
        raise UsageError(f"{name}: this network takes no other value")
    value = min(costs, key=lambda each: abs(costs[each] - wanted))
    if not wanted / 2 <= costs[value] <= 2 * wanted:
        raise UsageError(
            f"{name}: no value makes this network cost about {wanted:,} multiply-adds; {name}={value} comes closest, "
            f"with {costs[value]:,}"
        )
    return value, costs[value]


def cost_of(network: nn.Module) -> int:
    """Multiply-adds of one image of the size that the network was built for."""
    architecture: Any = network.architecture
    return multiply_adds(network, in_channels=architecture.in_channels, image_size=architecture.image_size)


def _whole(build: Callable[[Any], nn.Module], own: int, wanted: int) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for value in range(max(1, own // REACH), own * REACH + 1):
        try:
            found[value] = cost_of(build(value))
        except FoveaError:
            continue
        if found[value] > 2 * wanted:
            break
    return found


def _halved(build: Callable[[Any], nn.Module], own: float, wanted: int) -> dict[Any, int]:
    found: dict[Any, int] = {}
    low, high = own / REACH, own * REACH
    for _ in range(STEPS):
        value = round((low * high) ** 0.5, 4)
        if value in found:
            break
        found[value] = cost_of(build(value))
        low, high = (value, high) if found[value] < wanted else (low, value)
    return found
