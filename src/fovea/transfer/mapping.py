"""Foreign tensors to their places in one of our networks, every one of them accounted for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fovea.architectures.catalogue import architecture_of, build, builder_options
from fovea.errors import ModelError
from fovea.transfer.keys import Table, tables_of

NAMED = 10  # differences that a message names
COUNTS = "num_batches_tracked"  # how often a normalisation was trained; older files lack it


@dataclass(frozen=True, kw_only=True)
class Placed:
    """One tensor and where it went.

    Args:
        ours: Its key in our network.
        theirs: Its key in the file.
        shape: Its shape with us.
        changed: What was done to it, in words; "" where nothing was.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    changed: str = ""


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A network with foreign weights.

    Args:
        network: Ours, filled.
        table: Whose names the file has.
        placed: What went where, in the order of our network.
        options: What our builder was called with.
    """

    network: nn.Module
    table: Table
    placed: tuple[Placed, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        changed = sum(bool(each.changed) for each in self.placed)
        whose = "our own" if self.table.library == "fovea" else f"{self.table.library}'s ({self.table.network})"
        numbers = sum(math.prod(each.shape) for each in self.placed)
        reshaped = f"{changed:,} reshaped, " if changed else ""
        return f"{len(self.placed):,} tensors, {numbers:,} numbers, by {whose} names; {reshaped}none left over"


def mapped(
    name: str, tensors: Mapping[str, Tensor], *, sizes: Mapping[str, int], options: Mapping[str, Any], source: str
) -> Mapped:
    """One of our networks with the tensors of a file, by whichever library's names fit most of them.

    The numbers of classes and of channels are the file's. Auxiliary classifiers come along where the file has them.

    Args:
        name: Our network.
        tensors: By the names in the file.
        sizes: `image_size`, where it is not the network's own.
        options: What its builder takes beside these; they win over those of the library's table.
        source: What messages call the file.

    Raises:
        UsageError: an unknown network or option.
        ModelError: tensors that are missing, left over or of another shape; the first ten are named.
    """
    candidates = [_Candidate.of(name, table, tensors, sizes, options) for table in tables_of(name)]
    best = max(candidates, key=lambda each: each.fitting)  # of equal ones our own names
    best.check(name, tensors, source)
    return best.filled(name, tensors, sizes)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """The network as it would be by one table."""

    table: Table
    options: dict[str, Any]
    plan: nn.Module
    names: dict[str, str]
    fitting: int

    @classmethod
    def of(
        cls,
        name: str,
        table: Table,
        tensors: Mapping[str, Tensor],
        sizes: Mapping[str, int],
        options: Mapping[str, Any],
    ) -> _Candidate:
        told = table.options | dict(options)
        if "auxiliary" in builder_options(name) and "auxiliary" not in told:
            told["auxiliary"] = any(key.lower().startswith("aux") for key in tensors)
        plan, found = _planned(name, {**sizes, **told}), {}
        for key in keys_of_classes(plan, name, {**sizes, **told}):
            if (tensor := tensors.get(table.theirs(key))) is not None and tensor.ndim > 0:
                found["num_classes"] = tensor.shape[0]
        if (first := first_kernels(plan)) and (tensor := tensors.get(table.theirs(first))) is not None:
            found["in_channels"] = tensor.shape[1] if tensor.ndim == 4 else 1  # of another shape, it will be named
        plan = _planned(name, {**sizes, **told, **found})
        names = {key: table.theirs(key) for key in plan.state_dict()}
        return cls(
            table=table,
            options=told | found,
            plan=plan,
            names=names,
            fitting=sum(theirs in tensors for theirs in names.values()),
        )

    def check(self, name: str, tensors: Mapping[str, Tensor], source: str) -> None:
        """Refuse what does not fit to the last tensor."""
        own = self.plan.state_dict()
        differences = [
            f"{theirs} is missing" for key, theirs in self.names.items() if theirs not in tensors and COUNTS not in key
        ]
        differences += [
            f"{theirs} is {tuple(tensors[theirs].shape)}, {name} has {tuple(own[key].shape)}"
            for key, theirs in self.names.items()
            if theirs in tensors and _reshaped(tensors[theirs], own[key]) is None
        ]
        known = set(self.names.values())
        differences += [f"{key} has no place in {name}" for key in tensors if key not in known]
        if differences:
            more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
            raise ModelError(
                f"{source}: does not fit {name} by {self.table.library}'s names, which fit best "
                f"({self.fitting} of {len(own)} tensors; it has {', '.join(list(tensors)[:3])}, …): "
                f"{'; '.join(differences[:NAMED])}{more}"
            )

    def filled(self, name: str, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Mapped:
        """The network with the tensors in it."""
        network = build(name, seed=0, **{**sizes, **self.options})
        own, placed = network.state_dict(), []
        for key, theirs in self.names.items():
            if theirs not in tensors:
                continue
            tensor = _reshaped(tensors[theirs], own[key])
            assert tensor is not None  # it was checked
            own[key].copy_(tensor)
            same = tensor.shape == tensors[theirs].shape
            changed = "" if same else f"from {tuple(tensors[theirs].shape)}, the same numbers in the same order"
            placed.append(Placed(ours=key, theirs=theirs, shape=tuple(tensor.shape), changed=changed))
        return Mapped(network=network, table=self.table, placed=tuple(placed), options=self.options)


def first_kernels(network: nn.Module) -> str:
    """The key of the first convolution's kernels, whose shape tells the number of channels; "" where there is none."""
    return next((key for key, tensor in network.state_dict().items() if tensor.ndim == 4), "")


def keys_of_classes(network: nn.Module, name: str, options: Mapping[str, Any]) -> list[str]:
    """The keys of the tensors whose shapes depend on the number of classes, in the network's order.

    Args:
        network: As it is built by that name and these options.
        name: The network's.
        options: What its builder takes, sizes included.
    """
    made = architecture_of(network)
    assert made is not None  # it was built by its name
    other = _planned(name, {**options, "num_classes": made.num_classes + 1}).state_dict()
    return [key for key, tensor in network.state_dict().items() if tensor.shape != other[key].shape]


def _planned(name: str, options: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return build(name, **options)


def _reshaped(tensor: Tensor, own: Tensor) -> Tensor | None:
    """The tensor in our shape; None where it is another. A layer may be a convolution with them and linear with us."""
    if tensor.shape == own.shape:
        return tensor
    alike = {tensor.ndim, own.ndim} == {2, 4} and tensor.shape[0] == own.shape[0]
    return tensor.reshape(own.shape) if alike and tensor.numel() == own.numel() else None
