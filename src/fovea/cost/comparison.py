"""Several networks side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from fovea.cost.report import Report
from fovea.cost.table import amount, sees


def side_by_side(reports: Sequence[Report]) -> str:
    """A table with a figure in each line and a network in each column."""
    columns = [figures_of(report) for report in reports]
    cells = [["", *(report.name for report in reports)]]
    for figure in dict.fromkeys(name for column in columns for name in column):
        cells.append([figure, *(column.get(figure, "") for column in columns)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(f"{cell:{'>' if i else '<'}{widths[i]}}" for i, cell in enumerate(row)).rstrip() for row in cells
    ]
    notes = dict.fromkeys(note for report in reports for note in report.notes)
    return "\n".join([lines[0], "─" * len(max(lines, key=len)), *lines[1:], *(["", *notes] if notes else [])])


def totals_as_csv(reports: Sequence[Report]) -> str:
    """The totals as comma-separated lines, a network a line."""
    into = io.StringIO()
    rows = [
        {
            "name": report.name,
            "parameters": report.parameters,
            "macs": report.macs,
            "flops": report.flops,
            "inference_bytes": report.inference,
            **{f"training_bytes_{memory.optimiser}": memory.peak for memory in report.training},
            **{f"step_seconds_{name}": time.step for name, time in report.times.items()},
        }
        for report in reports
    ]
    writer = csv.DictWriter(into, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return into.getvalue()


def figures_of(report: Report) -> dict[str, str]:
    """The figures by which networks are compared, by name."""
    height, width = report.image_size
    widest = report.widest
    figures = {
        "images": f"{report.in_channels}×{height}×{width}",
        "parameters": f"{report.parameters:,}",
        "  in convolutions": f"{report.shares('parameters').get('convolution', 0):.1%}",
        "  fully connected": f"{report.shares('parameters').get('fully connected', 0):.1%}",
        "multiply-adds": f"{report.macs:,}",
        "  of those, in convolutions": f"{report.shares('macs').get('convolution', 0):.1%}",
        "FLOPs": f"{report.flops:,}",
        "multiply-adds per parameter": f"{report.macs / report.parameters:,.1f}" if report.parameters else "",
        "arithmetic intensity, FLOPs per byte": f"{report.intensity:.1f}",
        "layers with weights": f"{sum(1 for row in report.rows if row.weights and row.macs)}",
        "widest activation": amount(widest.bytes) if widest else "",
        "receptive field before the head": _field(report),
        f"inference, {report.batch_size} images": amount(report.inference),
    }
    for memory in report.training:
        figures[f"training, {memory.optimiser}, {report.batch_size} images"] = amount(memory.peak)
    for name, time in report.times.items():
        figures[f"forward pass, {name}"] = f"{1000 * time.forward:,.1f} ms"
        figures[f"training step, {name}"] = f"{1000 * time.step:,.1f} ms"
    return figures


def _field(report: Report) -> str:
    """That of the last maps whose units do not see the whole image."""
    fields = [row.field for row in report.rows if row.field is not None and row.field.axes]
    return sees(fields[-1]) if fields else "image"
