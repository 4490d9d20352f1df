"""Rows summed up: by block and stage, by sort of work, by column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from fovea.cost.rows import TIMES, Row, Work

Depth = Literal["stages", "blocks", "layers"]


OPENED = ("features", "head", "classifier", "stages", "layers", "blocks", "encoder")  # whose children are the stages


ADDED = ("elements", "bytes", "weights", "biases", "macs", "moved", "fixed", "products", *TIMES)


def at_depth(rows: Sequence[Row], depth: Depth) -> list[Row]:
    """The rows summed up by block or stage; layers are what they are.

    Shape, receptive field and stride are those of the last layer.
    """
    if depth == "layers":
        return list(rows)
    together: dict[str, list[Row]] = {}
    for row in rows:
        together.setdefault(_stage(row.path, 1 if depth == "stages" else 2), []).append(row)
    return [_summed(path, found) for path, found in together.items()]


def work_done(rows: Iterable[Row]) -> dict[str, tuple[int, int]]:
    """Parameters and multiply-adds of layers by the sort of work that they are for."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        products: Work = "other products"
        for work, parameters, macs in (
            (row.work, row.parameters, row.macs - row.products),
            (products, 0, row.products),
        ):
            before = found.get(work, (0, 0))
            found[work] = (before[0] + parameters, before[1] + macs)
    return found


def total(rows: Iterable[Row], column: str) -> Any:
    """The sum of a column; None where no row has it."""
    values = [value for row in rows if (value := getattr(row, column)) is not None]
    return sum(values) if values else None


def _stage(path: str, levels: int) -> str:
    parts = path.split(".")
    return ".".join(parts[: levels + (parts[0] in OPENED)])


def _only_window(rows: Sequence[Row]) -> dict[str, Any]:
    """The window of the one layer that has one; none where several have."""
    having = [row for row in rows if row.kernel is not None]
    names = ("kernel", "stride", "padding", "dilation", "groups")
    return {name: getattr(having[0], name) if len(having) == 1 else None for name in names}


def _summed(path: str, rows: Sequence[Row]) -> Row:
    if len(rows) == 1 and rows[0].path == path:
        return rows[0]
    last = next((row for row in reversed(rows) if row.shape), rows[-1])
    kinds = {row.kind for row in rows}
    return replace(
        last,
        path=path,
        kind=kinds.pop() if len(kinds) == 1 else f"{len(rows)} layers",
        **_only_window(rows),
        **{column: total(rows, column) for column in ADDED},
        nth=0,
        runs=any(row.runs for row in rows),
        layers=len(rows),
    )
