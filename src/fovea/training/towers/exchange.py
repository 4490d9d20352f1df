"""How two towers reach each other: by copies within a process, or by messages between two ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

TOWERS = 2

Maps = list[Tensor]  # one for each tower of this process


class InOneProcess:
    """How the towers of one process reach each other: by copies, through which autograd knows the way back."""

    def gathered(self, maps: Maps) -> Maps:
        """The maps of both, the first tower's first, for each tower of this process."""
        if maps[0].device == maps[1].device:
            return [torch.cat(maps, dim=1)] * TOWERS
        return [torch.cat([each.to(own.device) for each in maps], dim=1) for own in maps]

    def total(self, maps: Maps) -> Tensor:
        """The sum of what both contribute to the logits."""
        return maps[0] + maps[1].to(maps[0].device)

    def summed(self, number: Tensor) -> Tensor:
        """The sum of a number over the processes, outside the graph."""
        return number

    def collected(self, own: Mapping[int, Tensor], shapes: list[torch.Size]) -> Maps:
        """Both halves, of which this process has one or both, outside the graph."""
        del shapes  # both are here
        return [own[tower] for tower in range(TOWERS)]


class OverRanks(InOneProcess):
    """The same for one tower on each of two ranks: half of the maps is sent, forward as backward."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group, self.rank = group, dist.get_rank(group)

    def swapped(self, mine: Tensor) -> Tensor:
        """What the other rank has in the place of this tensor; it has the same shape."""
        both = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(TOWERS)]
        dist.all_gather(both, mine.contiguous(), group=self.group)
        return both[1 - self.rank]

    def gathered(self, maps: Maps) -> Maps:
        """The maps of both, on this rank."""
        whole: Tensor = _Gathered.apply(maps[0], self)
        return [whole]

    def total(self, maps: Maps) -> Tensor:
        """The sum of what both ranks contribute to the logits."""
        total: Tensor = _Total.apply(maps[0], self)
        return total

    def summed(self, number: Tensor) -> Tensor:
        """The sum of a number over both ranks, outside the graph."""
        return number + self.swapped(number)

    def collected(self, own: Mapping[int, Tensor], shapes: list[torch.Size]) -> Maps:
        """Both halves, on both ranks, outside the graph."""
        mine = own[self.rank].contiguous()
        halves = [mine if tower == self.rank else mine.new_empty(shape) for tower, shape in enumerate(shapes)]
        for tower, half in enumerate(halves):
            dist.broadcast(half, group=self.group, group_src=tower)
        return halves


class _Gathered(torch.autograd.Function):
    """Both halves of the maps; backward, what both ranks say about the own half."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, exchange: OverRanks) -> Tensor:
        ctx.exchange = exchange
        other = exchange.swapped(mine)
        return torch.cat([mine, other] if exchange.rank == 0 else [other, mine], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        parts = gradient.chunk(TOWERS, dim=1)
        rank = ctx.exchange.rank
        return parts[rank] + ctx.exchange.swapped(parts[1 - rank]), None


class _Total(torch.autograd.Function):
    """The sum over both ranks, the same on both to the bit; backward, the gradient as it is, since the loss is one."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor, exchange: OverRanks) -> Tensor:  # noqa: ARG004  # torch passes it
        return mine + exchange.swapped(mine)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004  # torch passes it
        return gradient, None
