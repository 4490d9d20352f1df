"""The report of one model, as `fovea evaluate --report` asks for it."""

from __future__ import annotations

from pathlib import Path

from fovea import pictures
from fovea.commands.judging import Judged
from fovea.evaluation.report import Told, write_report
from fovea.pictures.page import Table

UNITS = {"shift": "shift, pixels", "rotation": "rotation, degrees", "scale": "scale, factor"}


def report(judged: Judged, folder: Path) -> Path:
    """Write it into a folder; the path of its page."""
    title = f"{judged.name} on {judged.data.name}, {judged.split.name}"
    tables = [_slices(judged)] if judged.slices else []
    curves = {
        f"robustness_{curve.change}": pictures.sweep(
            curve.values,
            {"right": (curve.top1, curve.intervals), "answer as without the change": (curve.mean_agreement, ())},
            change=UNITS.get(curve.change, f"{curve.change}, severity"),
            title=f"{title}: {curve.change}",
        )
        for curve in judged.curves
    }
    notes = [f"by {judged.how}"] if judged.how else []
    told = Told(title=title, facts=judged.facts(), notes=[*notes, *judged.notes()], tables=tables, drawn=curves)
    return write_report(folder, judged.scores, judged.split, told)


def _slices(judged: Judged) -> Table:
    rows = [
        [
            each.name,
            f"{each.images:,}",
            f"{each.top1:.2%}",
            f"{each.top1_interval[0]:.2%}",
            f"{each.top1_interval[1]:.2%}",
        ]
        for each in judged.slices
    ]
    return Table(["slice", "images", "top-1", "from", "to"], rows, "parts of the split, with 95 % intervals")
