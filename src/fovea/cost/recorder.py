"""Observation of a running module: which operations it performs, in which of its layers, on what shapes.

A `Recorder` is a dispatch mode: every operation of torch passes it, whatever Python code called it, with real tensors
and with those of the meta device. Which layer is at work it learns from hooks on all modules, which it removes again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode

from fovea.cost.following import follow, written_through
from fovea.cost.operations import Kind, kind_of, multiply_adds, name_of
from fovea.cost.receptive_field import UNKNOWN, Field, Window, windowed

FIELD = "_fovea_receptive_field"  # where a tensor carries its field while a module is observed
Phase = Literal["forward", "backward", "update", "evaluation"]  # the last a forward pass that keeps nothing


class Spec(NamedTuple):
    """A tensor without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channels_last: bool

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        count = self.dtype.itemsize
        for side in self.shape:
            count *= side
        return count


@dataclass(slots=True, eq=False)
class Call:
    """One run of one module.

    Args:
        module: The module; None for what runs outside of all.
        path: Where it stands in the network; empty for the network itself.
        parent: The call inside of which it ran.
        at: How many operations had run before it.
        nth: Which run of this module it is, from 0.
        leaf: Whether no other module ran inside.
        shape: What left it, with the batch; None while it runs, and where it gives no tensor.
        field: The receptive field of what left it.
        inputs: What came in.
        macs: Multiply-adds of one image, where the module counts itself by a method `multiply_adds(output)`: what it
            runs may do more than its layer means.
    """

    module: nn.Module | None
    path: str
    parent: Call | None
    at: int = 0
    nth: int = 0
    leaf: bool = True
    shape: tuple[int, ...] | None = None
    field: Field | None = None
    inputs: tuple[Spec, ...] = ()
    macs: int | None = None


@dataclass(slots=True, eq=False)
class Operation:
    """One operation of torch's.

    Args:
        function, name, kind: Which, as `operations` has it.
        call: The layer that performed it.
        phase: Forward, backward, or update of the weights.
        args: What it was given, with a `Spec` for every tensor.
        outputs: What it gave.
        macs: Its multiply-adds, for the batch.
        field: The receptive field of its last output; None where it does not depend on the image.
        fixed: Bytes among its inputs that do not depend on the image: weights, above all.
        seconds: How long it took, where it was timed.
    """

    function: Any
    name: str
    kind: Kind
    call: Call
    phase: Phase
    args: tuple[Any, ...]
    outputs: tuple[Spec, ...]
    macs: int
    field: Field | None = None
    fixed: int = 0
    seconds: float = 0.0

    @property
    def tensors(self) -> list[Spec]:
        """The tensors it was given."""
        return list(_specs(self.args))


@dataclass(eq=False)
class Trace:
    """What was observed: the operations and the calls, in order."""

    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class Recorder(TorchDispatchMode):
    """Writes down every operation that runs inside `with recorder.watching(network)`.

    Args:
        fields: Whether receptive fields are followed.
        after: Called with each operation and its output, for those who watch memory.
        run: Runs the operation, in place of calling it; for those who measure.
    """

    def __init__(
        self,
        *,
        fields: bool = False,
        after: Callable[[Operation, Any], None] | None = None,
        run: Callable[..., tuple[Any, float]] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch types it not
        self.trace = Trace()
        self.phase: Phase = "forward"
        self.fields, self.after, self.run = fields, after, run
        self.stack: list[Call] = [Call(None, "", None)]
        self.nodes: dict[int, Call] = {}  # which layer an autograd node belongs to, by its sequence number

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Observe; the hooks are removed afterwards, whatever happens."""
        paths: dict[int, list[str]] = {}
        for path, module in network.named_modules(remove_duplicate=False):
            paths.setdefault(id(module), []).append(path)
        counts: dict[int, int] = {}
        thread = threading.get_ident()

        def enter(module: nn.Module, inputs: Any) -> None:
            if id(module) not in paths or threading.get_ident() != thread:
                return
            parent = self.stack[-1]
            parent.leaf = False
            nth = counts.get(id(module), 0)
            counts[id(module)] = nth + 1
            path = _path(paths[id(module)], parent.path)
            came = tuple(_spec(each) for each in inputs if isinstance(each, Tensor))
            call = Call(module, path, parent, len(self.trace.operations), nth, inputs=came)
            self.stack.append(call)
            self.trace.calls.append(call)

        def leave(module: Any, inputs: Any, output: Any) -> None:
            if id(module) not in paths or threading.get_ident() != thread:
                return
            call = self.stack.pop()
            if isinstance(output, Tensor):
                call.shape = tuple(output.shape)
                if hasattr(module, "multiply_adds"):
                    call.macs = int(module.multiply_adds(output))
                if self.fields:
                    self._leave(call, inputs, output)

        handles = [hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave)]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self, call: Call, inputs: Any, output: Tensor) -> None:
        """A linear layer on tokens or channels-last maps sees what its input does; a module's window is believed."""
        found = getattr(output, FIELD, None)
        entered = getattr(inputs[0], FIELD, None) if inputs and isinstance(inputs[0], Tensor) else None
        if isinstance(call.module, nn.Linear) and entered is not None and output.dim() > 2:
            found = entered if output.dim() - 1 not in entered.places else found
        elif found is UNKNOWN and call.leaf and entered is not None and hasattr(call.module, "kernel_size"):
            found = _window_of(call.module, entered, inputs[0].shape, output.shape)
        setattr(output, FIELD, found)
        call.field = found

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        entering = list(tensors_in(args))
        if len({tensor.is_meta for tensor in entering}) > 1:
            args = tuple(_to_meta(arg) for arg in args)
            entering = list(tensors_in(args))
        if self.run is None:
            output, seconds = function(*args, **kwargs), 0.0
        else:
            output, seconds = self.run(function, args, kwargs)
        leaving = list(tensors_in(output))
        operation = Operation(
            function=function,
            name=name_of(function),
            kind=kind_of(function),
            call=self._call(),
            phase=self.phase,
            args=_described(args),
            outputs=tuple([_spec(tensor) for tensor in leaving]),
            macs=multiply_adds(function, args, kwargs, output),
            seconds=seconds,
        )
        if self.fields:
            self._follow(operation, args, entering, leaving)
        self.trace.operations.append(operation)
        if self.after is not None:
            self.after(operation, output)
        return output

    def _call(self) -> Call:
        """The layer at work; in the backward pass the one whose operation is differentiated."""
        if self.phase in ("forward", "evaluation"):
            call = self.stack[-1]
            # autograd numbers its node just before the operation runs; one without a node must not claim the last one's
            self.nodes.setdefault(torch._C._autograd._get_sequence_nr() - 1, call)
            return call
        node = torch._C._current_autograd_node() if self.phase == "backward" else None
        return self.stack[0] if node is None else self.nodes.get(node._sequence_nr(), self.stack[-1])

    def _follow(
        self, operation: Operation, args: Sequence[Any], entering: Sequence[Tensor], leaving: Sequence[Tensor]
    ) -> None:
        seen: dict[int, Field] = {}
        for tensor in entering:
            found = getattr(tensor, FIELD, None)
            if found is None:
                operation.fixed += tensor.numel() * tensor.itemsize
            else:
                seen[id(tensor)] = found
        for tensor in leaving if seen else ():
            operation.field = follow(operation.name, operation.kind, args, tensor, seen)
            setattr(tensor, FIELD, operation.field)
            base = tensor._base
            if base is not None and operation.field is not None and any(tensor is each for each in entering):
                setattr(base, FIELD, written_through(tensor, base, operation.field, getattr(base, FIELD, None)))


def _window_of(module: Any, entered: Field, before: Sequence[int], after: Sequence[int]) -> Field:
    """A layer made of operations that cannot be followed, but which says what its window is, and whose output fits."""
    numbers = [getattr(module, name, default) for name, default in (("kernel_size", 0), ("stride", 1), ("padding", 0))]
    if not all(isinstance(number, int) for number in numbers) or len(before) != len(after):
        return UNKNOWN
    size, stride, padding = numbers
    fits = all((before[dim] + 2 * padding - size) // stride + 1 == after[dim] for dim in entered.dims)
    return windowed(entered, [Window(*numbers)] * 2, len(after)) if fits and entered.dims else UNKNOWN


def _path(known: list[str], parent: str) -> str:
    """The name of a module that may have several: the one that stands in the module that calls it."""
    if len(known) == 1:
        return known[0]
    inside = [path for path in known if path.startswith(f"{parent}." if parent else "")]
    return (inside or known)[0]


def _to_meta(value: Any) -> Any:
    """A tensor that a module holds beside its parameters and buffers follows them to the meta device."""
    if isinstance(value, Tensor):
        return value if value.is_meta or value.dim() == 0 else value.to("meta")
    return type(value)(_to_meta(each) for each in value) if type(value) in (list, tuple) else value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in the arguments or the output of an operation."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            if isinstance(each, Tensor):
                yield each
            elif isinstance(each, (list, tuple)):
                yield from tensors_in(each)


def _spec(tensor: Tensor) -> Spec:
    last = tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
    return Spec(tuple(tensor.shape), tensor.dtype, last)


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _spec(value)
    if not isinstance(value, (list, tuple)):
        return value
    return tuple([_described(each) if isinstance(each, (Tensor, list, tuple)) else each for each in value])


def _specs(value: Any) -> Iterator[Spec]:
    if isinstance(value, Spec):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from _specs(each)
