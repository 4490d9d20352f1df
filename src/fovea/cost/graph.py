"""Which layer takes from which, read off what really happened: every tensor remembers the operations it comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fovea.cost.recorder import Recorder, Trace, tensors_in
from fovea.cost.rows import Row, grouped, rows_of
from fovea.cost.running import forward_on_meta, image_batch
from fovea.pictures.blocks import Join

FROM = "_fovea_made_by"  # where a tensor carries the nodes that it comes from


JOINS: dict[str, Join] = {"add": "add", "cat": "concat", "mul": "multiply"}
QUIET = re.compile("norm|constant_pad|relu|silu|sigmoid|swish|tanh|gelu|elu|dropout|flatten|identity|softmax|permute")


@dataclass(eq=False)
class Node:
    """A layer or an operation of the picture: its row, and the nodes whose maps it takes."""

    row: Row
    inputs: list[Node] = field(default_factory=list)

    @property
    def quiet(self) -> bool:
        """Whether it has no box of its own."""
        name = self.row.kind.lower()
        return len(self.inputs) <= 1 and (QUIET.search(name) is not None or name in JOINS)


def joined(node: Node) -> Join:
    """How the maps that a node takes meet in it."""
    return JOINS.get(node.row.kind, "")


def graph(network: nn.Module, in_channels: int, image_size: tuple[int, int]) -> list[Node]:
    """The nodes in the order in which they run, without the quiet ones."""
    recorder = Recorder()
    sources: list[list[int]] = []  # for each operation the operations that its inputs come from

    def run(function: Any, args: Any, kwargs: Any) -> tuple[Any, float]:
        output = function(*args, **kwargs)
        sources.append(list(dict.fromkeys(place for tensor in tensors_in(args) for place in getattr(tensor, FROM, ()))))
        for tensor in tensors_in(output):
            setattr(tensor, FROM, [len(sources) - 1])
        return output, 0.0

    recorder.run = run
    forward_on_meta(network, image_batch(in_channels, image_size), recorder)
    return _without_quiet(_nodes(recorder.trace, network, sources))


def _nodes(trace: Trace, network: nn.Module, sources: list[list[int]]) -> list[Node]:
    """A node for every row that runs, with the nodes that its inputs come from."""
    places = {id(operation): place for place, operation in enumerate(trace.operations)}
    rows = [row for row in rows_of(trace, network) if row.runs and row.kind != "Parameter"]
    nodes: list[Node] = []
    of: dict[int, Any] = {}  # operation: the node it belongs to; a view stands for what it looks at
    for row, (_, operations) in zip(rows, grouped(trace), strict=True):
        nodes.append(Node(row))
        of |= {places[id(operation)]: [nodes[-1]] for operation in operations}
    for place, given in enumerate(sources):
        before = list(dict.fromkeys(node for source in given for node in of[source]))
        [node] = of.get(place, [None])
        if node is None:
            of[place] = before
        else:
            node.inputs += [each for each in before if each is not node and each not in node.inputs]
    return nodes


def _without_quiet(nodes: Sequence[Node]) -> list[Node]:
    kept: dict[int, list[Node]] = {}  # what stands for a node: itself, or where it is quiet its inputs
    for node in nodes:
        node.inputs = list(dict.fromkeys(each for given in node.inputs for each in kept[id(given)]))
        kept[id(node)] = node.inputs if node.quiet else [node]
    return [node for node in nodes if not node.quiet]
