"""From a trace to the inspector's table: a row for every layer, and for every operation between layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from fovea.cost.receptive_field import Field
from fovea.cost.recorder import Call, Operation, Spec, Trace

QUIET = ("view", "creation")  # kinds that get no row of their own between layers
Work = Literal["convolution", "fully connected", "other products", "the rest"]
WORK: tuple[Work, ...] = ("convolution", "fully connected", "other products", "the rest")
DENSE = ("addmm", "mm", "linear")  # products with weights; the others are those of attention
Sides = tuple[int, ...]
TIMES = ("bound", "estimate", "measured", "step_bound", "step_estimate", "step_measured")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one layer costs for one image; at the depths of blocks and stages, what all their layers do together.

    Args:
        path: Where it stands: the module's name, and for what runs between modules the name of the one around it.
        kind: The module's class, or the operation's name; "Parameter" for weights that a container holds itself.
        kernel, stride, padding, dilation, groups: Of a convolution or pooling, a number for each axis; a padding that
            is not the same on both sides has four: top, bottom, left, right. None where there is no window.
        shape: What leaves it, without the batch.
        elements: Numbers that leave it, 0 where it only looks at its input in another shape.
        bytes: The memory they take.
        weights, biases: Learnable numbers that no row before has counted.
        macs: Multiply-adds, without biases; FLOPs are twice as many.
        field: Which pixels of the image a unit sees; None where it sees none.
        moved: Bytes read and written that grow with the batch, for one image.
        fixed: Bytes read that do not, such as weights.
        nth: Which call of the same module it is, from 0.
        work: The sort of its multiply-adds, and of its parameters.
        products: Those of its multiply-adds that are products of maps with maps, in a layer that has weights too.
        runs: False for a module that evaluation does not run, such as an auxiliary classifier.
        layers: How many rows it sums up.
        bound, estimate, measured: Seconds in a forward pass of the batch; see `timing`.
        step_bound, step_estimate, step_measured: Seconds in a training step.
    """

    path: str
    kind: str
    kernel: Sides | None = None
    stride: Sides | None = None
    padding: Sides | None = None
    dilation: Sides | None = None
    groups: int | None = None
    shape: tuple[int, ...] = ()
    elements: int = 0
    bytes: int = 0
    weights: int = 0
    biases: int = 0
    macs: int = 0
    field: Field | None = None
    moved: int = 0
    fixed: int = 0
    nth: int = 0
    work: Work = "the rest"
    products: int = 0
    runs: bool = True
    layers: int = 1
    bound: float | None = None
    estimate: float | None = None
    measured: float | None = None
    step_bound: float | None = None
    step_estimate: float | None = None
    step_measured: float | None = None

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def flops(self) -> int:
        """Twice the multiply-adds: one multiplication and one addition each."""
        return 2 * self.macs


def rows_of(trace: Trace, network: nn.Module) -> list[Row]:
    """A row for each layer's run and each operation between layers, in the order in which they ran.

    The parameters of all rows are all the network's, each once; what does not run stands last.
    """
    seen: set[int] = set()
    rows: list[Row] = []
    groups = grouped(trace)
    for owner, operations in groups:
        call = operations[0].call if operations else owner
        rows += _held_by_containers(call if owner is None else owner.parent, seen)
        rows.append(_between(operations[0]) if owner is None else _layer(owner, operations, seen))
    return [*rows, *_not_run(network, seen)]


def grouped(trace: Trace) -> list[tuple[Call | None, list[Operation]]]:
    """The operations by the row that they belong to: a layer's run, or None for one between layers."""
    found: dict[int, tuple[float, Call | None, list[Operation]]] = {}
    for place, operation in enumerate(trace.operations):
        owner = owner_of(operation.call)
        if owner is not None:
            found.setdefault(id(owner), (place, owner, []))[2].append(operation)
        elif operation.kind not in QUIET:
            found[id(operation)] = (place, None, [operation])
    for call in trace.calls:  # dropout does nothing in evaluation, but it belongs to the picture
        if isinstance(call.module, nn.modules.dropout._DropoutNd) and owner_of(call) is call:
            found.setdefault(id(call), (call.at - 0.5, call, []))
    return [(owner, operations) for _, owner, operations in sorted(found.values(), key=lambda each: each[0])]


def owner_of(call: Call) -> Call | None:
    """The layer's run that an operation belongs to: a module without modules, or one that counts itself."""
    owner = call if call.leaf and call.module is not None else None
    above: Call | None = call
    while above is not None:
        if above.macs is not None:
            owner = above
        above = above.parent
    return owner


def _layer(call: Call, operations: Sequence[Operation], seen: set[int]) -> Row:
    weights, biases = _learnable(call.module, seen, recurse=True)
    main = next((o for o in operations if o.kind in ("convolution", "pooling")), None)
    work = [operation for operation in operations if operation.kind not in QUIET]
    shape = call.shape if call.shape is not None else _last_shape(operations)
    size = operations[-1].outputs[0].dtype.itemsize if operations and operations[-1].outputs else 4
    elements = math.prod(shape[1:]) if work else 0
    return Row(
        path=call.path,
        kind=type(call.module).__name__,
        **(_window(main, operations) if main is not None else {}),
        shape=tuple(shape[1:]),
        elements=elements,
        bytes=elements * size,
        weights=weights,
        biases=biases,
        macs=call.macs if call.macs is not None else sum(operation.macs for operation in operations),
        field=call.field or (operations[-1].field if operations else None),
        moved=sum(map(_moved, work)),
        work=_work(operations, call.macs),
        products=_products(operations) if call.macs is None else 0,
        fixed=sum(operation.fixed for operation in work),
        nth=call.nth,
    )


def _between(operation: Operation) -> Row:
    out = operation.outputs[-1] if operation.outputs else None
    elements = math.prod(out.shape[1:]) if out else 0
    return Row(
        path=operation.call.path,
        kind=operation.name.strip("_"),
        **(_window(operation, ()) if operation.kind in ("convolution", "pooling") else {}),
        shape=tuple(out.shape[1:]) if out else (),
        elements=elements,
        bytes=elements * out.dtype.itemsize if out else 0,
        macs=operation.macs,
        field=operation.field,
        moved=_moved(operation),
        work=_work([operation], None),
        fixed=operation.fixed,
        nth=operation.call.nth,
    )


def _held_by_containers(call: Call | None, seen: set[int]) -> list[Row]:
    """Weights that the modules around a layer hold themselves, such as a class token."""
    rows: list[Row] = []
    while call is not None and call.module is not None:
        for name, parameter in call.module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                path = f"{call.path}.{name}" if call.path else name
                rows.insert(0, _parameter_row(path, parameter))
        call = call.parent
    return rows


def _parameter_row(path: str, parameter: nn.Parameter) -> Row:
    name = path.rpartition(".")[2]
    weights, biases = (0, parameter.numel()) if name.endswith("bias") else (parameter.numel(), 0)
    work: Work = "fully connected" if name.endswith("weight") and parameter.dim() == 2 else "the rest"
    return Row(path=path, kind="Parameter", weights=weights, biases=biases, work=work)


def _work(operations: Sequence[Operation], own: int | None) -> Work:
    kinds = {operation.kind for operation in operations}
    if "convolution" in kinds:
        return "convolution"
    if own or any(operation.name in DENSE for operation in operations):
        return "fully connected"
    return "other products" if "matrix product" in kinds else "the rest"


def _products(operations: Sequence[Operation]) -> int:
    """Multiply-adds of maps with maps, where a layer has products with weights too: attention and its projections."""
    if not any(operation.name in DENSE for operation in operations):
        return 0
    return sum(o.macs for o in operations if o.kind == "matrix product" and o.name not in DENSE)


def _work_of(module: nn.Module) -> Work:
    """The work of a layer that does not run."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return "convolution"
    return "fully connected" if isinstance(module, nn.Linear) else "the rest"


def _not_run(network: nn.Module, seen: set[int]) -> list[Row]:
    rows = []
    for path, module in network.named_modules():
        weights, biases = _learnable(module, seen, recurse=False)
        if weights + biases:
            kind, work = type(module).__name__, _work_of(module)
            rows.append(Row(path=path, kind=kind, weights=weights, biases=biases, work=work, runs=False))
    return rows


def _learnable(module: nn.Module | None, seen: set[int], *, recurse: bool) -> tuple[int, int]:
    counts = {True: 0, False: 0}
    for name, parameter in module.named_parameters(recurse=recurse) if module is not None else ():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            counts[name.rpartition(".")[2].endswith("bias")] += parameter.numel()
    return counts[False], counts[True]


def _moved(operation: Operation) -> int:
    if operation.kind in QUIET:
        return 0
    read = sum(spec.bytes for spec in operation.tensors) - operation.fixed
    return read + sum(spec.bytes for spec in operation.outputs)


def _last_shape(operations: Sequence[Operation]) -> tuple[int, ...]:
    return next((o.outputs[0].shape for o in reversed(operations) if o.outputs), ())


def _window(main: Operation, operations: Sequence[Operation]) -> dict[str, Any]:
    """Kernel, stride, padding, dilation, groups of a convolution or pooling; what is padded before it is added."""
    args = main.args
    if main.kind == "convolution" and isinstance(args[1], Spec):
        kernel, stride, padding, dilation, groups = args[1].shape[2:], args[3], args[4], args[5], args[8]
    elif main.name.startswith(("max_pool", "avg_pool")):
        kernel = _pair(args[1])
        stride = _pair(args[2]) if len(args) > 2 and args[2] else kernel
        padding = _pair(args[3]) if len(args) > 3 else (0,) * len(kernel)
        dilation, groups = None, None
    else:
        return {}
    before = [o for o in operations if o.name == "constant_pad_nd" and len(o.args[1]) == 4]
    if before and any(before[0].args[1]):
        left, right, top, bottom = before[0].args[1]
        padding = (padding[0] + top, padding[0] + bottom, padding[1] + left, padding[1] + right)
        padding = (padding[0], padding[2]) if padding[0] == padding[1] and padding[2] == padding[3] else padding
    return {
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "padding": tuple(padding),
        "dilation": tuple(dilation) if dilation is not None else None,
        "groups": groups,
    }


def _pair(value: Any) -> Sides:
    sides = (value,) if isinstance(value, int) else tuple(value)
    return sides * 2 if len(sides) == 1 else sides
