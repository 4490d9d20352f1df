"""What a network costs, before the first step: the inspector's report on any module."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from fovea.cost.calibration import calibration
from fovea.cost.fitting import advice
from fovea.cost.liveness import Liveness
from fovea.cost.memory import Optimiser, TrainingMemory, machine_memory, training_memory
from fovea.cost.recorder import Recorder, Trace
from fovea.cost.rows import WORK, Row, rows_of
from fovea.cost.running import dtype_of, forward_on_meta, image_batch
from fovea.cost.step import Precision, Setting
from fovea.cost.summing import Depth, at_depth, total, work_done
from fovea.cost.timing import Time, expected, measured, with_times
from fovea.errors import ShapeError, UsageError

Sort = Literal["order", "parameters", "macs", "elements", "bound", "estimate", "measured"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one network costs; prints itself as a table with its totals.

    Args:
        name: Of the network.
        in_channels, image_size: Of the images: channels, and (height, width) in pixels.
        batch_size: Images at once, for memory, time and arithmetic intensity; rows are for one image.
        depth: What a row is: a stage, a block, or a layer.
        rows: As the forward pass runs through them; what evaluation does not run stands last.
        work: Parameters and multiply-adds by the sort of work that they are for.
        widest: The layer that gives out the most numbers; the first of equals.
        frozen: Parameters that do not learn.
        dtype: The type of the numbers: float32, unless the module's weights have another.
        stored: Bytes of the parameters.
        buffers: Bytes of tensors that are no parameters, such as running means.
        inference: Most bytes of live tensors in a forward pass of the batch: weights, buffers, images and maps.
        unknown: Operations whose cost nobody knows here, with how often they ran; their rows count 0.
        training: The memory of training, in the ways that were asked for.
        limit: Bytes of memory that the largest batch is for: this machine's, where nobody says otherwise.
        times: Seconds for the batch, as "bound", "estimate" and "measured", where they were asked for.
        notes: Sentences that stand under the table.
    """

    name: str
    in_channels: int
    image_size: tuple[int, int]
    batch_size: int
    depth: Depth = "layers"
    rows: tuple[Row, ...]
    work: dict[str, tuple[int, int]] = field(default_factory=dict)
    widest: Row | None = None
    frozen: int = 0
    dtype: str = "float32"
    stored: int = 0
    buffers: int = 0
    inference: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    training: tuple[TrainingMemory, ...] = ()
    limit: int = 0
    times: dict[str, Time] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Learnable numbers, those of modules that evaluation does not run and frozen ones included."""
        return self.weights + self.biases

    @property
    def weights(self) -> int:
        """Parameters that are no biases."""
        return int(total(self.rows, "weights") or 0)

    @property
    def biases(self) -> int:
        """Parameters that are added."""
        return int(total(self.rows, "biases") or 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return int(total(self.rows, "macs") or 0)

    @property
    def flops(self) -> int:
        """Twice the multiply-adds."""
        return 2 * self.macs

    @property
    def elements(self) -> int:
        """Numbers that all rows give out for one image."""
        return int(total(self.rows, "elements") or 0)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs for each byte that the layers read and write, with the report's batch size."""
        moved = self.batch_size * (total(self.rows, "moved") or 0) + (total(self.rows, "fixed") or 0)
        return self.batch_size * self.flops / moved if moved else 0.0

    def shares(self, column: Literal["parameters", "macs"]) -> dict[str, float]:
        """Where the parameters or multiply-adds are: the fraction of each sort of work, which add up to 1."""
        place = ("parameters", "macs").index(column)
        everything = sum(counts[place] for counts in self.work.values()) or 1
        return {work: self.work[work][place] / everything for work in WORK if work in self.work}

    def at_depth(self, depth: Depth) -> Report:
        """The same report with its rows summed up by stage or block; from layers only."""
        return replace(self, rows=tuple(at_depth(self.rows, depth)), depth=depth)

    def sorted(self, by: Sort) -> Report:
        """The same report with the largest rows first; "order" leaves them as they run."""
        if by == "order":
            return self
        return replace(self, rows=tuple(sorted(self.rows, key=lambda row: -(getattr(row, by) or 0))))

    def __str__(self) -> str:
        from fovea.cost.table import text

        return text(self)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values for `json.dumps`."""
        from fovea.cost.plain import plain

        return plain(self)

    def as_csv(self) -> str:
        """The rows, with a line of heads."""
        from fovea.cost.plain import comma_separated

        return comma_separated(self)


def inspect(
    module: nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    batch_size: int = 1,
    training: bool = False,
) -> Report:
    """What any module costs, layer by layer, without weights and without arithmetic; nothing of it is changed.

    Args:
        module: Takes images (N, C, H, W); on whatever device. A network of the catalogue knows the size of its images.
        image_size: Side of the images in pixels, or (height, width).
        in_channels: Channels of the images; 3 where the module does not say.
        batch_size: For memory and arithmetic intensity.
        training: Whether the memory of training is worked out too, for SGD and Adam in float32.

    Raises:
        UsageError: no image size is given, and the module does not say which it takes; or a number below 1.
        ShapeError: the images do not fit; says in which layer, why, and which sizes nearby would.
        ModelError: the module cannot run without numbers.
    """
    channels, size = _images(module, image_size, in_channels)
    if batch_size < 1:
        raise UsageError(f"batch_size (={batch_size}) must be 1 or more")
    try:
        report = _report(module, channels, size, batch_size)
    except ShapeError as error:
        raise ShapeError(f"{error}{advice(module, channels, size)}") from error
    if not training:
        return report
    setting = Setting(in_channels=report.in_channels, image_size=report.image_size, batch_size=batch_size)
    optimisers: tuple[Optimiser, ...] = ("sgd", "adam")
    plain = tuple(training_memory(module, setting, optimisers))
    return replace(report, training=plain, limit=machine_memory())


def timed(
    report: Report,
    module: nn.Module,
    *,
    precision: Precision = "float32",
    channels_last: bool = False,
    measure: bool = False,
) -> Report:
    """The report with the bound and the estimate of its times on this machine; measured beside them on request.

    The first call on a machine calibrates it, which takes up to a minute; the result is kept.

    Args:
        report: Of the module, by layers.
        module: What is timed; SGD with momentum updates its weights.
        precision: Of the convolutions and products.
        channels_last: How weights and maps lie in memory.
        measure: Whether a copy of the module is run as well; it needs weights then.

    Raises:
        ModelError: the module has no weights to be measured with.
        MachineError: the calibration cannot be kept.
    """
    setting = Setting(
        in_channels=report.in_channels,
        image_size=report.image_size,
        batch_size=report.batch_size,
        precision=precision,
        channels_last=channels_last,
    )
    made = calibration(precision=precision, channels_last=channels_last)
    bound, estimate = expected(module, setting, made)
    times = {"bound": bound, "estimate": estimate} | ({"measured": measured(module, setting)} if measure else {})
    how = f"{precision}{', channels last' if channels_last else ''}, SGD with momentum"
    note = f"times are for {report.batch_size} images on {made.machine}, calibrated {made.date}; {how}"
    return replace(report, rows=tuple(with_times(report.rows, times)), times=times, notes=(*report.notes, note))


def traced(
    module: nn.Module, in_channels: int, image_size: tuple[int, int], *, batch_size: int = 1, fields: bool = True
) -> tuple[Trace, Liveness]:
    """One forward pass on the meta device: what it did, and the account of its memory."""
    liveness = Liveness()
    recorder = Recorder(fields=fields, after=liveness.after)
    forward_on_meta(module, image_batch(in_channels, image_size, batch_size), recorder, there=liveness.ignore)
    return recorder.trace, liveness


def _report(module: nn.Module, channels: int, size: tuple[int, int], batch: int) -> Report:
    trace, liveness = traced(module, channels, size)
    if batch > 1:
        _, liveness = traced(module, channels, size, batch_size=batch, fields=False)
    dtype, stored, buffers = dtype_of(module), _bytes(module.parameters()), _bytes(module.buffers())
    held = stored + buffers + dtype.itemsize * batch * channels * math.prod(size)
    rows = tuple(rows_of(trace, module))
    return Report(
        name=_name(module),
        in_channels=channels,
        image_size=size,
        batch_size=batch,
        rows=rows,
        work=work_done(rows),
        widest=max((row for row in rows if row.elements), key=lambda row: row.elements, default=None),
        frozen=sum(parameter.numel() for parameter in module.parameters() if not parameter.requires_grad),
        dtype=str(dtype).removeprefix("torch."),
        stored=stored,
        buffers=buffers,
        inference=held + max(liveness.timeline, default=0),
        unknown=_unknown(trace),
    )


def _images(module: nn.Module, size: int | Sequence[int] | None, channels: int | None) -> tuple[int, tuple[int, int]]:
    told = getattr(module, "architecture", None)
    size = size if size is not None else getattr(told, "image_size", None)
    channels = channels if channels is not None else getattr(told, "in_channels", 3)
    if size is None:
        raise UsageError(f"{_name(module)} does not say how large its images are: give image_size, such as 224")
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, Sequence) else ()
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise UsageError(f"image_size (={size!r}) must be a whole number of pixels, or two: (height, width)")
    height, width = sides
    if min(height, width, channels) < 1:
        raise UsageError(f"images of {channels}×{height}×{width} do not exist: every side must be 1 or more")
    return channels, (height, width)


def _name(module: nn.Module) -> str:
    return getattr(getattr(module, "architecture", None), "name", None) or type(module).__name__


def _unknown(trace: Trace) -> dict[str, int]:
    found: dict[str, int] = {}
    for operation in trace.operations:
        if operation.kind == "unknown":
            found[operation.name] = found.get(operation.name, 0) + 1
    return found


def _bytes(tensors: Iterable[Any]) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)
