"""The inspector's report as text for people."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from fovea.cost.rows import Row
from fovea.cost.summing import total

if TYPE_CHECKING:
    from fovea.cost.memory import TrainingMemory
    from fovea.cost.receptive_field import Field
    from fovea.cost.report import Report

KIB = 1024
BYTES = (("GiB", KIB**3), ("MiB", KIB**2), ("KiB", KIB))
LABEL = 22  # columns before what a total teaches
SHORTEST = 8  # columns of a layer's name, however narrow the terminal


class Column(NamedTuple):
    """A column of the table.

    Args:
        head: What stands above it.
        text: A row's entry, given the totals.
        sum: The column's sum, given the report; nothing where it has none.
        rank: The higher, the earlier it is left out where the terminal is narrow; 0 stays.
    """

    head: str
    text: Callable[[Row], str]
    sum: Callable[[Report], str] = lambda _: ""
    rank: int = 0


def text(report: Report, *, width: int | None = None) -> str:
    """The table with its totals under it, and what they teach.

    Args:
        report: What is printed.
        width: Columns of the terminal: what matters least is left out until the table fits; None leaves out nothing.
    """
    height, across = report.image_size
    images = f"images of {report.in_channels}×{height}×{across}"
    about = f"{report.name}: {images}; a row is a {report.depth[:-1]}, for one image"
    table, left_out = _fitted(report, width)
    omitted = [f"left out for this terminal: {', '.join(left_out)}"] if left_out else []
    told = _wrapped([about, ""], width), table, _wrapped([*omitted, "", *summary(report)], width)
    plans = ["", *plan_lines(report, width=width)] if len(report.training) > 2 else []
    return "\n".join([*(line for lines in told for line in lines), *plans])


def summary(report: Report) -> list[str]:
    """What the totals teach, a line each."""
    lines = [
        f"parameters            {_parameters(report)}",
        f"multiply-adds         {report.macs:,} = {report.flops:,} FLOPs: {_shares(report, 'macs')}",
    ]
    if (widest := report.widest) is not None:
        shape = f"{_shape(widest)} = {widest.elements:,} numbers, {amount(widest.bytes)}"
        lines.append(f"widest activation     {widest.path} ({widest.kind}): {shape}")
    at = "one image" if report.batch_size == 1 else f"{report.batch_size} images at once"
    lines.append(f"arithmetic intensity  {report.intensity:.1f} FLOPs per byte read or written, {at}")
    lines.append(f"inference             {amount(report.inference)} at the peak, {at}, {report.dtype}")
    for memory in report.training[:2]:
        lines += _training(memory, f"{at}, {report.dtype}", report.limit)
    lines += _times(report, at)
    if report.unknown:
        names = ", ".join(f"{name} ({times}×)" for name, times in report.unknown.items())
        lines.append(f"not counted           {names}: nobody has told fovea what they cost")
    return [*lines, *report.notes]


def plan_lines(report: Report, *, width: int | None = None) -> list[str]:
    """The ways of training as a table: optimiser, precision, memory format, checkpointing.

    Args:
        report: With the ways.
        width: Columns of the terminal: where it is narrow, the parts of the peak are left out.
    """
    heads = ("optimiser", "precision", "channels last", "checkpointing", "weights", "gradients", "state", "activations")
    cells: list[tuple[str, ...]] = [(*heads, "working", "peak MiB", "largest batch")]
    for memory in report.training:
        how = memory.setting
        yes = ["yes" if each else "" for each in (how.channels_last, how.checkpointing)]
        parts = (memory.weights, memory.gradients, memory.state, memory.activations, memory.working, memory.peak)
        sizes = [f"{part / KIB**2:,.1f}" for part in parts]
        cells.append((memory.optimiser, how.precision, *yes, *sizes, f"{memory.largest_batch(report.limit):,}"))
    title = f"training {report.name}, {report.batch_size} images at once: MiB of live tensors at the peak"
    titles = _wrapped([f"{title}; the largest batch within {amount(report.limit)}"], width)
    lines = _lined_up(cells)
    if width is not None and max(map(len, lines)) > width:
        lines = _lined_up([(*row[:4], *row[-2:]) for row in cells])
    return [*titles, *lines]


def amount(count: int) -> str:
    """Bytes in the largest unit of 1024s that leaves at least 1: 784.0 KiB."""
    for name, unit in BYTES:
        if count >= unit:
            return f"{count / unit:,.1f} {name}"
    return f"{count} B"


def columns_of(report: Report) -> list[Column]:
    """The columns that this report has; those of time where they were worked out."""
    columns = [
        Column("layer", lambda row: row.path or "(network)"),
        Column("kind", lambda row: row.kind + ("" if row.runs else ", not run"), rank=3),
        Column("window", _window, rank=4),
        Column("output", _shape),
        Column(
            "numbers", lambda row: f"{row.elements:,}" if row.elements else "", lambda r: f"{r.elements:,}", rank=10
        ),
        Column("KiB", lambda row: f"{row.bytes / KIB:,.1f}" if row.bytes else "", _kib, rank=5),
        Column("weights", lambda row: f"{row.weights:,}" if row.weights else "", lambda r: f"{r.weights:,}"),
        Column("biases", lambda row: f"{row.biases:,}" if row.biases else "", lambda r: f"{r.biases:,}", rank=7),
        Column("multiply-adds", lambda row: f"{row.macs:,}" if row.macs else "", lambda r: f"{r.macs:,}"),
        Column("FLOPs", lambda row: f"{row.flops:,}" if row.macs else "", lambda r: f"{r.flops:,}", rank=9),
        Column("sees", lambda row: sees(row.field), rank=2),
        Column("stride", lambda row: _sides(row.field, "stride"), rank=6),
        Column("centre", lambda row: _sides(row.field, "centre"), rank=8),
        Column("% par", lambda row: _share(row.parameters, report.parameters), rank=7),
        Column("% macs", lambda row: _share(row.macs, report.macs), rank=5),
    ]
    columns += [_milliseconds(name, f"{name} ms") for name in report.times]
    return columns + [_milliseconds(f"step_{name}", f"step {name}") for name in report.times]


def sees(field: Field | None) -> str:
    """The receptive field in pixels: one number for a square, the words for what is none."""
    if field is None:
        return ""
    if not field.known:
        return "unknown"
    return "image" if field.whole else _sides(field, "size")


def _training(memory: TrainingMemory, at: str, limit: int) -> list[str]:
    head = f"training, {memory.optimiser}"
    parts = ("weights", "buffers", "images", "state", "activations", "gradients", "working")
    fits = f"{memory.largest_batch(limit):,} images would fit {amount(limit)}"
    return [
        f"{head:<21} {amount(memory.peak)} at the peak, {at}, in {memory.where}; {fits}",
        " " * LABEL + ", ".join(f"{name} {amount(getattr(memory, name))}" for name in parts),
    ]


def _times(report: Report, at: str) -> list[str]:
    """The totals of time, forward and step, in all the ways in which they are known."""
    lines = []
    for what, head in (("forward", "forward pass"), ("step", "training step")):
        known = [f"{name} {1000 * getattr(time, what):,.1f} ms" for name, time in report.times.items()]
        if known:
            lines.append(f"{head:<21} {', '.join(known)}; {at}")
    return lines


def _milliseconds(name: str, head: str) -> Column:
    def entry(row: Row) -> str:
        seconds = getattr(row, name)
        return "" if seconds is None else f"{1000 * seconds:.3f}"

    return Column(head, entry, lambda report: f"{1000 * (total(report.rows, name) or 0):.3f}")


def _fitted(report: Report, width: int | None) -> tuple[list[str], list[str]]:
    columns = columns_of(report)
    left_out: list[str] = []
    while True:
        lines = _laid_out(report, columns)
        last = max(columns, key=lambda column: column.rank)
        if width is None or len(lines[1]) <= width:
            return lines, left_out
        if not last.rank:
            columns[0] = _shortened(columns[0], report, len(lines[1]) - width)
            return _laid_out(report, columns), [*left_out, "the beginnings of long names"]
        columns.remove(last)
        left_out.append(last.head)


def _laid_out(report: Report, columns: Sequence[Column]) -> list[str]:
    cells = [[column.head for column in columns]]
    cells += [[column.text(row) for column in columns] for row in report.rows]
    cells += [["total", *(column.sum(report) for column in columns[1:])]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [column.head in ("layer", "kind", "window") for column in columns]
    lines = [
        "  ".join(f"{cell:{'<' if first else '>'}{size}}" for cell, size, first in zip(row, widths, left, strict=True))
        for row in cells
    ]
    rule = "─" * len(lines[0])
    return [lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:-1]), rule, lines[-1].rstrip()]


def _shortened(column: Column, report: Report, excess: int) -> Column:
    """The same column, narrower; what stands last in a layer's name tells most."""
    room = max(max(len(column.text(row)) for row in report.rows) - excess, SHORTEST)

    def entry(row: Row) -> str:
        whole = column.text(row)
        return whole if len(whole) <= room else "…" + whole[len(whole) - room + 1 :]

    return column._replace(text=entry)


def _lined_up(cells: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    form = "  ".join(f"{{:{'<' if i < 4 else '>'}{width}}}" for i, width in enumerate(widths))
    return [form.format(*row).rstrip() for row in cells]


def _wrapped(lines: Sequence[str], width: int | None) -> list[str]:
    """Sentences in the columns of the terminal; what runs on stands under what it belongs to."""
    if width is None:
        return list(lines)
    fill = textwrap.TextWrapper(max(width, 2 * LABEL), subsequent_indent=" " * LABEL, break_on_hyphens=False)
    return [part for line in lines for part in fill.wrap(line) or [""]]


def _window(row: Row) -> str:
    """Kernel, stride, padding, dilation, groups; what does nothing is not said."""
    if row.kernel is None:
        return ""
    words = ["×".join(map(str, row.kernel))]
    for letter, sides, usual in (("/", row.stride, 1), ("p", row.padding, 0), ("d", row.dilation, 1)):
        if sides is not None and any(side != usual for side in sides):
            same = len(set(sides)) == 1
            words.append(letter + (str(sides[0]) if same else ",".join(map(str, sides))))
    if row.groups is not None and row.groups != 1:
        words.append(f"g{row.groups}")
    return " ".join(words)


def _shape(row: Row) -> str:
    return "×".join(map(str, row.shape))


def _sides(field: Field | None, name: str) -> str:
    if field is None or not field.axes:
        return ""
    values = [f"{getattr(axis, name):g}" for axis in field.axes]
    return values[0] if len(set(values)) == 1 else "×".join(values)


def _kib(report: Report) -> str:
    return f"{(total(report.rows, 'bytes') or 0) / KIB:,.1f}"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}" if count and of else ""


def _parameters(report: Report) -> str:
    frozen = f", {report.frozen:,} of them frozen" if report.frozen else ""
    return f"{report.parameters:,} ({amount(report.stored)}){frozen}: {_shares(report, 'parameters')}"


def _shares(report: Report, column: Any) -> str:
    shares = report.shares(column)
    return ", ".join(f"{work} {100 * share:.1f} %" for work, share in shares.items() if share) or "none"
