"""Which tensors are alive when: an account of every storage from its making to its end."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from fovea.cost.recorder import Operation, Phase, tensors_in
from fovea.cost.workspace import borrowed


@dataclass(frozen=True, slots=True)
class Made:
    """A storage: its bytes, and the phase in which it was made."""

    bytes: int
    phase: Phase


@dataclass
class Liveness:
    """Follows the storages that operations make; those that were there before are not counted.

    `after` belongs to a `Recorder`. After each operation `timeline` has the bytes alive while it ran: what was made and
    not yet freed, and what the operation borrowed.
    """

    borrows: bool = True  # whether operations run on a CPU, whose convolutions borrow
    timeline: list[int] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    live: int = 0
    _events: list[tuple[int, int, Made | None]] = field(default_factory=list)  # position, storage, made or gone
    _known: dict[int, Any] = field(default_factory=dict)
    _names: int = 0

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Tensors that are there all the time and counted elsewhere."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()._cdata] = tensor

    def after(self, operation: Operation, output: Any) -> None:
        """Note what an operation has made."""
        for tensor in tensors_in(output):
            self._note(tensor, operation.phase)
        self.operations.append(operation)
        self.timeline.append(self.live + (borrowed(operation) if self.borrows else 0))

    def alive(self, position: int) -> dict[int, Made]:
        """The storages alive while the operation at a position ran."""
        found: dict[int, Made] = {}
        for when, name, made in self._events:
            if when > position:
                break
            if made is None:
                found.pop(name, None)
            else:
                found[name] = made
        return found

    def names(self, tensors: Iterable[Tensor]) -> set[int]:
        """The names by which `alive` knows the storages of tensors."""
        keys = (tensor.untyped_storage()._cdata for tensor in tensors)
        return {found[1] for key in keys if isinstance(found := self._known.get(key), tuple)}

    def _note(self, tensor: Tensor, phase: Phase) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or not size:
            return
        self._names += 1
        self._known[key] = (weakref.ref(storage, partial(self._gone, key, size, self._names)), self._names)
        self.live += size
        self._events.append((len(self.timeline), self._names, Made(size, phase)))

    def _gone(self, key: int, size: int, name: int, _: Any) -> None:
        self.live -= size
        del self._known[key]
        self._events.append((len(self.timeline), name, None))
