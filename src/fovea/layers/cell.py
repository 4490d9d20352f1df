"""A searched cell, built from its genotype: the table of which operation is applied to which hidden state.

State 0 is the current map, brought to the cell's filters by a 1×1 convolution; state 1 the previous map, fitted to it.
Each pair of branches makes one further state by adding two of the states before, each through an operation. Some of
the states, side by side, are the cell's output.

Source: Zoph et al. 2018, arXiv:1707.07012, section 3, and its published code.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fovea.errors import UsageError
from fovea.layers.drop_path import DropPath
from fovea.layers.factorised_reduction import FactorisedReduction
from fovea.layers.operations import NONE, Norm, operation, relu_conv_norm

INPUTS = 2  # states 0 and 1 come from outside, the rest is made here


class Branch(NamedTuple):
    """One half of a pair: an operation on an earlier state."""

    input: int
    operation: str


class Genotype(NamedTuple):
    """A cell as a value: hashable, printable, and `_replace` makes the neighbours that a search visits."""

    pairs: tuple[tuple[Branch, Branch], ...]  # pair k makes state k + 2
    concat: tuple[int, ...]  # the states whose concatenation is the output

    @property
    def unused(self) -> tuple[int, ...]:
        """The states that no branch reads: what the papers' text says is concatenated, and their code widens."""
        read = {branch.input for pair in self.pairs for branch in pair}
        return tuple(state for state in range(INPUTS + len(self.pairs)) if state not in read)


def genotype(*pairs: tuple[tuple[int, str], tuple[int, str]], concat: tuple[int, ...]) -> Genotype:
    """A genotype from plain pairs, as a table reads best.

    Raises:
        UsageError: a branch or the output reads a state that there is not yet.
    """
    made = Genotype(tuple((Branch(*left), Branch(*right)) for left, right in pairs), concat)
    check(made)
    return made


def check(cell: Genotype) -> None:
    """Refuse a genotype that cannot be built.

    Raises:
        UsageError: a branch or the output reads a state that there is not (yet), or the output reads none.
    """
    for state, pair in enumerate(cell.pairs, start=INPUTS):
        for branch in pair:
            if not 0 <= branch.input < state:
                raise UsageError(f"state {state} reads state {branch.input}; it may read 0 to {state - 1}")
    last = INPUTS + len(cell.pairs) - 1
    if not cell.concat or not all(0 <= state <= last for state in cell.concat):
        raise UsageError(f"concat (={cell.concat}) must name at least one state, each from 0 to {last}")


class Incoming(NamedTuple):
    """A feature map between cells: its channels, and how many pixels of the image one of its pixels stands for."""

    channels: int
    stride: int


class Style(NamedTuple):
    """What all operations of a cell share."""

    norm: Norm = nn.BatchNorm2d
    drop_path: float = 0.0  # how often each is dropped at the end of training


PLAIN = Style()


class Cell(nn.Module):
    """The cell of a genotype.

    Args:
        genotype: Which operations, on which states.
        filters: Channels of every state.
        current: The map of the layer before.
        previous: The map of the layer before that; None where there is none, so that the current one, as it is,
            stands in.
        stride: 2 makes it a reduction cell: operations on states 0 and 1 halve the resolution.
        style: Normalisation and drop path of its operations.

    Raises:
        UsageError: the genotype cannot be built.
    """

    def __init__(
        self,
        genotype: Genotype,
        filters: int,
        *,
        current: Incoming,
        previous: Incoming | None,
        stride: int = 1,
        style: Style = PLAIN,
    ) -> None:
        super().__init__()
        check(genotype)
        self.genotype = genotype
        self.outgoing = Incoming(filters * len(genotype.concat), current.stride * stride)
        self.current = relu_conv_norm(current.channels, filters, norm=style.norm)
        self.previous = nn.Identity() if previous is None else _fitted(previous, current, filters, style.norm)
        inputs = (filters, current.channels if previous is None else filters)
        self.pairs = nn.ModuleList(_pair(pair, inputs, filters, stride, style.norm) for pair in genotype.pairs)
        self.drop_path = DropPath(style.drop_path)
        # Of the inputs among the output's states those are adapted whose size or channels differ from the others'.
        self.adapted = nn.ModuleDict(
            {
                str(state): _adapted(inputs[state], filters, stride, style.norm)
                for state in genotype.concat
                if state < INPUTS and (stride > 1 or inputs[state] != filters)
            }
        )

    def forward(
        self, current: Float[Tensor, "n c h w"], previous: Float[Tensor, "n c1 h1 w1"] | None = None
    ) -> Float[Tensor, "n k h2 w2"]:
        """The output's states side by side."""
        states: list[Tensor] = [self.current(current), self.previous(current if previous is None else previous)]
        for pair, modules in zip(self.genotype.pairs, self.pairs, strict=True):
            left, right = (self._applied(b, m, states) for b, m in zip(pair, modules.children(), strict=True))
            states.append(left + right)
        for state, module in self.adapted.items():
            states[int(state)] = module(states[int(state)])
        return torch.cat([states[state] for state in self.genotype.concat], dim=1)

    def _applied(self, branch: Branch, module: nn.Module, states: list[Tensor]) -> Tensor:
        made: Tensor = module(states[branch.input])
        return made if branch.operation == NONE else self.drop_path(made)


def _pair(pair: tuple[Branch, Branch], inputs: tuple[int, int], filters: int, stride: int, norm: Norm) -> nn.ModuleDict:
    modules = {}
    for side, (state, name) in zip(("left", "right"), pair, strict=True):
        if state < INPUTS:
            modules[side] = operation(name, inputs[state], filters, stride=stride, norm=norm)
        else:  # what is made in the cell has its final size and channels already
            modules[side] = operation(name, filters, filters, norm=norm)
    return nn.ModuleDict(modules)


def _fitted(previous: Incoming, current: Incoming, filters: int, norm: Norm) -> nn.Module:
    """Bring the previous map to the current one's size and to the cell's filters."""
    if previous.stride != current.stride:
        return nn.Sequential(nn.ReLU(), FactorisedReduction(previous.channels, filters, norm=norm))
    if previous.channels != filters:
        return relu_conv_norm(previous.channels, filters, norm=norm)
    return nn.Identity()


def _adapted(channels: int, filters: int, stride: int, norm: Norm) -> nn.Module:
    if stride > 1:
        return FactorisedReduction(channels, filters, norm=norm)
    return nn.Sequential(nn.Conv2d(channels, filters, 1, bias=False), norm(filters))
