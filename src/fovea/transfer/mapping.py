"""Foreign tensors to their places in one of our networks, every one of them accounted for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fovea.architectures.catalogue import architecture_of, build, builder_options
from fovea.errors import ModelError
from fovea.transfer.keys import Table, keras, tables_of
from fovea.transfer.keys.changes import Change

NAMED = 10  # differences that a message names
SEED = 0  # of what a file lacks
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
        inputs: Tensors of a layer in front of the network, by its library's names; they prepare images.
        fresh: The keys of what the file lacked and was drawn instead, in the order of our network.
    """

    network: nn.Module
    table: Table
    placed: tuple[Placed, ...]
    options: dict[str, Any]
    inputs: dict[str, Tensor] = field(default_factory=dict)
    fresh: tuple[str, ...] = ()

    @property
    def drawn(self) -> str:
        """In words what was drawn because the file lacked it; "" where nothing was."""
        if not self.fresh:
            return ""
        return f"{_upper(self.fresh)} on {len(self.fresh):,} tensors were drawn afresh with seed {SEED}"

    def __str__(self) -> str:
        changed = sum(bool(each.changed) for each in self.placed)
        whose = "our own" if self.table.library == "fovea" else f"{self.table.library}'s ({self.table.network})"
        numbers = sum(math.prod(each.shape) for each in self.placed)
        reshaped = f"{changed:,} reshaped or transposed, " if changed else ""
        return f"{len(self.placed):,} tensors, {numbers:,} numbers, by {whose} names; {reshaped}none left over"


def mapped(
    name: str,
    tensors: Mapping[str, Tensor],
    *,
    sizes: Mapping[str, int],
    options: Mapping[str, Any],
    source: str,
    partial: bool = False,
) -> Mapped:
    """One of our networks with the tensors of a file, by whichever library's names fit most of them.

    The numbers of classes and of channels are the file's. Auxiliary classifiers come along where the file has them.

    Args:
        name: Our network.
        tensors: By the names in the file.
        sizes: `image_size`, where it is not the network's own; `num_classes`, where the file may lack the output layer.
        options: What its builder takes beside these; they win over those of the library's table.
        source: What messages call the file.
        partial: Whether the upper layers may be missing; they are then drawn afresh.

    Raises:
        UsageError: an unknown network or option.
        ModelError: tensors that are missing, left over or of another shape; the first ten are named.
    """
    candidates = [_Candidate.of(name, table, tensors, sizes, options) for table in tables_of(name)]
    best = max(candidates, key=lambda each: each.fitting)  # of equal ones our own names
    best.check(name, tensors, source, partial=partial)
    return best.filled(name, tensors, sizes)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """The network as it would be by one table.

    Args:
        table: The library's.
        options: What our builder is called with.
        plan: The network without numbers.
        names: Of each of our keys the library's name.
        files: Of each of the library's names that is there the name in the file.
    """

    table: Table
    options: dict[str, Any]
    plan: nn.Module
    names: dict[str, str]
    files: dict[str, str]

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
        files = table.in_file(tensors, plan.state_dict())

        def ours(key: str) -> Tensor | None:
            place = files.get(table.theirs(key))
            return None if place is None else _in_our_form(tensors[place], key, table)

        for key in keys_of_classes(plan, name, {**sizes, **told}):
            if (tensor := ours(key)) is not None and tensor.ndim > 0:
                found["num_classes"] = tensor.shape[0]
        if (first := first_kernels(plan)) and (tensor := ours(first)) is not None:
            found["in_channels"] = tensor.shape[1] if tensor.ndim == 4 else 1  # of another shape, it will be named
        plan = _planned(name, {**sizes, **told, **found})
        names = {key: table.theirs(key) for key in plan.state_dict()}
        return cls(table=table, options=told | found, plan=plan, names=names, files=files)

    @property
    def fitting(self) -> int:
        """How many of our tensors are there."""
        return sum(theirs in self.files for theirs in self.names.values())

    def missing(self) -> list[str]:
        """The keys of what is not there, in the network's order; counts of training steps are not missed."""
        return [key for key, theirs in self.names.items() if theirs not in self.files and COUNTS not in key]

    def upper(self) -> bool:
        """Whether what is missing is the upper part of the network alone: all of it lies behind all that is there."""
        there = [self.names[key] in self.files for key in self.names if COUNTS not in key]
        return any(there) and there == sorted(there, reverse=True)

    def check(self, name: str, tensors: Mapping[str, Tensor], source: str, *, partial: bool) -> None:
        """Refuse what does not fit to the last tensor."""
        own, missing = self.plan.state_dict(), self.missing()
        others = [
            f"{self.files[theirs]} is {tuple(tensors[self.files[theirs]].shape)}, {name} has {_shape(key, own, self)}"
            for key, theirs in self.names.items()
            if theirs in self.files and _placeable(tensors[self.files[theirs]], key, own[key], self.table) is None
        ]
        known = {*self.names.values(), *self.table.inputs}
        others += [f"{place} has no place in {name}" for theirs, place in self.files.items() if theirs not in known]
        if not others and (not missing or (partial and self.upper())):
            return
        differences = [f"{self.names[key]} is missing" for key in missing] + others
        more = f" and {len(differences) - NAMED} more" if len(differences) > NAMED else ""
        raise ModelError(
            f"{source}: does not fit {name} by {self.table.library}'s names, which fit best "
            f"({self.fitting} of {len(own)} tensors; it has {', '.join(list(tensors)[:3])}, …): "
            f"{'; '.join(differences[:NAMED])}{more}{self._advice(name, missing, others, partial=partial)}"
        )

    def _advice(self, name: str, missing: list[str], others: list[str], *, partial: bool) -> str:
        """What to do about it, where that is known."""
        if self.fitting == 0 and name in keras.DECLINED and any("/" in place for place in self.files):
            return f". Keras's network of that kind is another: {keras.DECLINED[name]}"
        if partial:
            return ". Partial weights may lack upper layers alone, and nothing may be left over"
        if missing and not others and self.upper():
            return f". It lacks the upper layers alone: --partial takes the rest, and draws those {_upper(missing)} on"
        return ""

    def filled(self, name: str, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Mapped:
        """The network with the tensors in it."""
        network = build(name, seed=SEED, **{**sizes, **self.options})
        own, placed = network.state_dict(), []
        for key, theirs in self.names.items():
            if theirs not in self.files:
                continue
            place = self.files[theirs]
            tensor = _placeable(tensors[place], key, own[key], self.table)
            assert tensor is not None  # it was checked
            own[key].copy_(tensor)
            change = self.table.change(key)
            changed = "" if tensor.shape == tensors[place].shape and not change else _words(tensors[place], change)
            placed.append(Placed(ours=key, theirs=place, shape=tuple(tensor.shape), changed=changed))
        return Mapped(
            network=network,
            table=self.table,
            placed=tuple(placed),
            options=self.options,
            inputs={each: tensors[self.files[each]] for each in self.table.inputs if each in self.files},
            fresh=tuple(self.missing()),
        )


def _upper(keys: Sequence[str]) -> str:
    """From which layer on: the first key without its tensor."""
    return f"from {keys[0].rpartition('.')[0]}"


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


def _in_our_form(tensor: Tensor, key: str, table: Table) -> Tensor | None:
    change = table.change(key)
    return change.ours(tensor) if change else tensor


def _placeable(tensor: Tensor, key: str, own: Tensor, table: Table) -> Tensor | None:
    """The tensor in our form and shape; None where it is another. A layer may be a convolution there, linear here."""
    found = _in_our_form(tensor, key, table)
    if found is not None and found.shape == own.shape:
        return found
    if table.library == "keras":  # whose numbers are in another order
        return None
    alike = {tensor.ndim, own.ndim} == {2, 4} and tensor.shape[0] == own.shape[0]
    return tensor.reshape(own.shape) if alike and tensor.numel() == own.numel() else None


def _shape(key: str, own: Mapping[str, Tensor], candidate: _Candidate) -> str:
    """The shape that a tensor should have had, in its library's form."""
    change = candidate.table.change(key)
    return f"{tuple(own[key].shape)}{f', {change.words}' if change else ''}"


def _words(tensor: Tensor, change: Change | None) -> str:
    """What was done to a tensor."""
    return f"from {tuple(tensor.shape)}, {change.words if change else 'the same numbers in the same order'}"
