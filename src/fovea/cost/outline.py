"""A network as a picture has it: stages, blocks, and the lanes that run side by side, read off what really happened.

Every tensor remembers which layer it comes from, so branches and shortcuts are found in any module, however it is
written: where a single tensor is all that the rest of the network needs, a block ends. Normalisation, activations and
dropout are part of the layer before them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from fovea.cost.count import stages_of
from fovea.cost.graph import JOINS, Node, graph, joined
from fovea.cost.rows import Row
from fovea.pictures.blocks import Block, Box, Stage

GATE = "squeeze-excitation"


def outline(network: nn.Module, *, in_channels: int, image_size: tuple[int, int]) -> list[Stage]:
    """The stages of a network with their blocks.

    Args:
        network: Any module that runs on the meta device.
        in_channels: Of the images.
        image_size: Their height and width.

    Raises:
        ShapeError: the images do not fit.
        ModelError: the network cannot run without numbers.
    """
    nodes = [node for node in graph(network, in_channels, image_size) if node.row.shape]
    parts = _by_stage(nodes, network)
    return list(_drawn_once(Stage(name, found[-1].row.shape, tuple(_blocks(found, nodes))) for name, found in parts))


def _drawn_once(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Three or more equal stages in a row, such as a searched network's cells, as one with both names."""
    for _, same in itertools.groupby(stages, key=lambda stage: (stage.shape, tuple(map(_looks, stage.blocks)))):
        found = list(same)
        if len(found) < 3:
            yield from found
        else:
            yield replace(found[-1], name=f"{found[0].name} … {found[-1].name}")


def _by_stage(nodes: Sequence[Node], network: nn.Module) -> list[tuple[str, list[Node]]]:
    """The nodes by stage, in order; what stands between two stages belongs to the one before."""
    paths = {id(module): path for path, module in network.named_modules()}
    if not isinstance(getattr(network, "features", None), nn.Module):
        paths = {}  # its children may run beside each other
    stages = {f"{paths[id(module)]}.": name for name, module in stages_of(network).items() if id(module) in paths}
    found: list[tuple[str, list[Node]]] = []
    for node in nodes:
        name = next((name for path, name in stages.items() if f"{node.row.path}.".startswith(path)), None)
        part = node.row.path.partition(".")[0]
        if name is None:  # beside features and head: a part of its own, or of the stage before
            name = found[-1][0] if found and part in ("", "features", "head") else part or "network"
        so_far = found[-1][0] if found else ""
        if found and name not in stages.values() and not _follows(node, found[-1][1]):
            found[-1] = (f"{so_far}, {name}", found[-1][1])
        elif name not in (so_far, so_far.rpartition(", ")[2]):
            found.append((name, []))
        found[-1][1].append(node)
    return found


def _follows(node: Node, before: Sequence[Node]) -> bool:
    """Whether a layer takes what the part before it gave, rather than running beside it."""
    return any(given is other for given in node.inputs for other in before) or not node.inputs


def _blocks(stage: list[Node], nodes: Sequence[Node]) -> list[Block]:
    """Blocks of a stage; a chain of single layers is one block, equal blocks that follow each other are drawn once."""
    blocks: list[Block] = []
    chain: list[Box] = []
    for part in _parts(stage, nodes):
        if (cell := _cell(part)) is not None:
            before, lanes = cell
            chain += before
        else:
            lanes = _lanes(part)
        if len(lanes) == 1:
            chain += lanes[0]
            continue
        if chain:
            blocks, chain = [*blocks, Block((tuple(chain),), "")], []
        blocks.append(Block(tuple(lanes), joined(part[-1])))
    if chain:
        blocks.append(Block((tuple(chain),), ""))
    return list(_repeated(blocks))


def _parts(stage: list[Node], nodes: Sequence[Node]) -> Iterator[list[Node]]:
    """Cut a stage wherever one map is all that the rest of the network still needs."""
    last_use = {id(given): place for place, node in enumerate(nodes) for given in node.inputs}
    places = {id(node): place for place, node in enumerate(nodes)}
    part: list[Node] = []
    for node in stage:
        part.append(node)
        here = places[id(node)]
        if not any(last_use.get(id(other), -1) > here for other in nodes[:here]):
            yield part
            part = []
    if part:
        yield part


def _cell(part: list[Node]) -> tuple[list[Box], list[tuple[Box, ...]]] | None:
    """A searched cell, pairs of operations whose sums are concatenated: what prepares its inputs, and the pairs."""
    sums = [node for node in part if node.row.kind == "add"]
    if part[-1].row.kind != "cat" or len(sums) < 3:
        return None
    uses = Counter(id(given) for node in part for given in node.inputs)
    taken = {id(part[-1]), *map(id, sums)}
    lanes: list[tuple[Box, ...]] = []
    for node in sums:
        chains = [_chain_to(given, part, uses) for given in node.inputs]
        taken |= {id(each) for chain in chains for each in chain}
        text = " + ".join(_operation(chain) for chain in chains)
        kind: Any = "depthwise" if "sep" in text else "pooling"
        lanes.append((Box(node.row.path.rpartition(".")[2], text, kind, node.row.shape),))
    before = [node for node in part if id(node) not in taken and node.row.kind not in JOINS]
    return list(_boxes(before)), lanes


def _chain_to(node: Node, part: Sequence[Node], uses: Counter[int]) -> list[Node]:
    """The layers of one operation of a cell, up to the state that it takes."""
    inside = {id(each) for each in part}
    chain: list[Node] = []
    while id(node) in inside and node.row.kind not in JOINS and uses[id(node)] == 1 and len(node.inputs) == 1:
        chain.insert(0, node)
        node = node.inputs[0]
    return chain


def _operation(chain: Sequence[Node]) -> str:
    """An operation of a cell by its name."""
    if not chain:
        return "identity"
    boxes = [_box(node.row) for node in chain]
    depthwise = [box.text for box in boxes if box.kind == "depthwise"]
    return depthwise[0].replace("depthwise", "sep") if depthwise else " ".join(box.text for box in boxes)


def _lanes(part: list[Node]) -> list[tuple[Box, ...]]:
    """What runs side by side between the part's beginning and its join, the identity an empty lane."""
    join = part[-1] if part[-1].row.kind in JOINS else None
    if join is None or len(part) == 1:
        return [tuple(_boxes(part))]
    inside = {id(node) for node in part[:-1]}
    lanes = [tuple(_boxes(lane)) for lane in _connected(part[:-1], inside)]
    if any(id(given) not in inside for given in join.inputs):
        lanes.insert(0, ())
    if join.row.kind == "mul" and len(lanes) == 2:
        return [_gated(lanes)]
    return lanes


def _gated(lanes: list[tuple[Box, ...]]) -> tuple[Box, ...]:
    """A factor for each channel, worked out from the maps themselves, as one box behind the maps."""
    maps, gate = sorted(lanes, key=lambda lane: bool(lane) and lane[-1].shape[-1:] in ((1,), lane[-1].shape))
    last = gate[-1] if gate else maps[-1]
    return (*maps, Box(GATE, GATE, "attention", last.shape))


def _connected(nodes: list[Node], inside: set[int]) -> list[list[Node]]:
    """The nodes that hang together, in order of their first."""
    group: dict[int, int] = {}
    for node in nodes:
        given = {group[id(each)] for each in node.inputs if id(each) in group and id(each) in inside}
        name = min(given, default=id(node))
        group[id(node)] = name
        group = {key: name if value in given else value for key, value in group.items()}
    lanes: dict[int, list[Node]] = {}
    for node in nodes:
        lanes.setdefault(group[id(node)], []).append(node)
    return list(lanes.values())


def _boxes(nodes: Sequence[Node]) -> Iterator[Box]:
    """A box for each node; squeeze-excitation, which ends in a product, as one, and so what forks inside a lane."""
    held: list[tuple[Node, Box]] = []
    for node in nodes:
        if node.row.kind == "mul":
            yield from (box for _, box in held if not _is_gate(box))
            yield Box(GATE, GATE, "attention", node.row.shape)
            held = []
            continue
        box = _box(node.row)
        forked = [each for other, each in held if other in node.inputs]
        if node.row.kind == "cat" and len(forked) == len(node.inputs):
            held = [each for each in held if each[1] not in forked]
            box = replace(forked[0], text=" | ".join(each.text for each in forked), shape=node.row.shape)
        held.append((node, box))
    yield from (box for _, box in held)


def _is_gate(box: Box) -> bool:
    return box.shape[1:] == (1, 1) or len(box.shape) == 1


def _box(row: Row) -> Box:
    name = row.path.rpartition(".")[2]
    kind, text = _kind_and_text(row)
    return Box(name, text, kind, row.shape, _towers(row))


def _towers(row: Row) -> int:
    return 2 if row.groups == 2 and row.shape[0] > 2 else 1


def _kind_and_text(row: Row) -> tuple[Any, str]:
    window = "×".join(map(str, row.kernel or ())) + (
        f" /{max(row.stride)}" if row.stride and max(row.stride) > 1 else ""
    )
    name = row.kind.lower()
    if row.work == "convolution":
        depthwise = row.groups is not None and row.groups > 1 and row.groups == row.shape[0]
        return (
            ("depthwise", f"depthwise {window}")
            if depthwise
            else ("convolution", f"{window}, {row.shape[0] // _towers(row)}")
        )
    if row.products or row.work == "other products":
        return "attention", "attention" if row.products else row.kind
    if row.work == "fully connected":
        return "linear", f"{row.shape[-1]}"
    if "pool" in name or "sampling" in name or name == "mean":
        how = "max" if "max" in name else "mean"  # LeNet-5's subsampling is a mean with a factor
        return "pooling", f"{how} {window}" if window else "mean"
    return ("normalisation" if "norm" in name else "other"), JOINS.get(row.kind, row.kind)


def _repeated(blocks: Sequence[Block]) -> Iterator[Block]:
    held: Block | None = None
    for block in blocks:
        if held is not None and _looks(held) == _looks(block):
            held = replace(block, repeat=held.repeat + 1)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def _looks(block: Block) -> tuple[Any, ...]:
    return (block.join, tuple(tuple((box.kind, box.text) for box in lane) for lane in block.lanes))
