"""The report of one model, and the page of several together, as `fovea evaluate --report` asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fovea import pictures
from fovea.commands.judging import Judged
from fovea.commands.judging_together import Said
from fovea.evaluation.report import NUMBERS, PAGE, Told, write_report
from fovea.files import write_durably, write_json
from fovea.pictures.page import Section, Table, Text, page

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


def report_together(judged: Sequence[Judged], said: Sequence[Said], folder: Path) -> Path:
    """Write the page of several models, whose own reports lie below it; the path of the page.

    Args:
        judged: The models.
        said: What follows of them together.
        folder: Where.
    """
    rows = [
        [
            f"model_{number}",
            each.name,
            f"{each.data.name}, {each.split.name}",
            f"{each.scores.images:,}",
            *(f"{value:.2%}" for value in (each.scores.top1, *each.scores.top1_interval)),
            f"{each.scores.negative_log_likelihood:.4f}",
        ]
        for number, each in enumerate(judged, start=1)
    ]
    columns = ["report", "model", "data", "images", "top-1", "from", "to", "negative log-likelihood"]
    table = Table(columns, rows, "models, with 95 % intervals; each has its own report in the folder of that name")
    write_json(
        folder / NUMBERS, {"models": [each.facts() for each in judged], "together": [each.facts for each in said]}
    )
    sections: list[Section] = [table, *(Text(each.words) for each in said)]
    write_durably(folder / PAGE, page(f"{len(judged)} models", sections=sections).encode())
    return folder / PAGE


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
