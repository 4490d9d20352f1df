"""The inspector's report for machines: plain values for JSON, and comma-separated lines."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fovea.cost.rows import Row
from fovea.cost.table import sees

if TYPE_CHECKING:
    from fovea.cost.receptive_field import Field
    from fovea.cost.report import Report


def plain(report: Report) -> dict[str, Any]:
    """Everything the report holds, as values for JSON."""
    widest = report.widest
    return {
        "name": report.name,
        "in_channels": report.in_channels,
        "image_size": list(report.image_size),
        "batch_size": report.batch_size,
        "parameters": report.parameters,
        "weights": report.weights,
        "biases": report.biases,
        "frozen": report.frozen,
        "dtype": report.dtype,
        "parameter_bytes": report.stored,
        "buffer_bytes": report.buffers,
        "elements": report.elements,
        "macs": report.macs,
        "flops": report.flops,
        "shares": {"parameters": report.shares("parameters"), "macs": report.shares("macs")},
        "arithmetic_intensity": report.intensity,
        "widest": {"path": widest.path, "elements": widest.elements, "bytes": widest.bytes} if widest else None,
        "inference_bytes": report.inference,
        "limit_bytes": report.limit,
        "training": [memory.as_json(report.limit) for memory in report.training],
        "unknown": report.unknown,
        "times": {name: time.as_json() for name, time in report.times.items()},
        "notes": list(report.notes),
        "depth": report.depth,
        "rows": [_plain_row(row) for row in report.rows],
    }


def comma_separated(report: Report) -> str:
    """The rows with a line of heads, one value in each cell: pairs of sides as 3x3."""
    into = io.StringIO()
    rows = [{name: _cell(value) for name, value in _plain_row(row).items()} for row in report.rows]
    writer = csv.DictWriter(into, fieldnames=list(_plain_row(Row(path="", kind=""))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return into.getvalue()


def _plain_row(row: Row) -> dict[str, Any]:
    values = {each.name: getattr(row, each.name) for each in fields(row) if each.name != "field"}
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    found = row.field
    seen = {"sees": sees(found)} | {name: _axes(found, name) for name in ("size", "stride", "centre")}
    seen = {("field_" + name if name != "sees" else name): value for name, value in seen.items()}
    return values | {"parameters": row.parameters, "flops": row.flops} | seen


def _axes(field: Field | None, name: str) -> list[Any] | None:
    return [getattr(axis, name) for axis in field.axes] if field is not None and field.axes else None


def _cell(value: Any) -> Any:
    return "x".join(f"{side:g}" for side in value) if isinstance(value, list) else value
