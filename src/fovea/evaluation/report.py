"""What an evaluation leaves behind: a page, the numbers for machines, a line for each image, pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from fovea import pictures
from fovea.data.colour import in_colour
from fovea.data.sets import Split
from fovea.evaluation import calibration, metrics
from fovea.evaluation.scores import Scores
from fovea.files import make_folder, write_durably, write_json
from fovea.pictures.page import Picture, Section, Table, Text, page

PAGE, NUMBERS, LINES = "report.html", "report.json", "predictions.csv"
LIKELIEST: Final = 5
MISTAKES: Final = 25


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a report says of where its figures come from.

    Args:
        title: Of the page: which model, which data.
        facts: Anything else that goes into report.json: model, data, protocol.
        notes: Sentences below the figures.
        tables: Tables below them.
        drawn: Further pictures, PNG, by name.
    """

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    drawn: Mapping[str, bytes] = field(default_factory=dict)


def write_report(folder: Path, scores: Scores, split: Split, told: Told) -> Path:
    """Write report.html (one file, no network), report.json, predictions.csv and the pictures; the page's path.

    Each file is written durably; the page comes last, so that where it stands the others do.

    Raises:
        MachineError: the folder cannot be written.
    """
    make_folder(folder)
    drawn = {**told.drawn, **_drawn(scores, split, told.title)}
    for name, content in drawn.items():
        write_durably(folder / f"{name}.png", content)
    details = scores.details()
    numbers = scores.summary() | details
    write_json(folder / NUMBERS, told.facts | numbers | {"notes": list(told.notes)})
    write_durably(folder / LINES, predictions_csv(scores, split).encode())
    sections: list[Section] = [
        Text("\n".join([str(scores), *_beyond(numbers, scores.k), *told.notes])),
        *told.tables,
        _classes(details),
        *([_pairs(details)] if details["most_confused"] else []),
        *(Picture(content, name.replace("_", " ")) for name, content in drawn.items()),
    ]
    write_durably(folder / PAGE, page(told.title, sections=sections).encode())
    return folder / PAGE


def predictions_csv(scores: Scores, split: Split) -> str:
    """A line for each image: path, label, prediction, whether it is right, the five likeliest with probabilities."""
    places = range(1, min(LIKELIEST, len(scores.classes)) + 1)
    into = io.StringIO()
    lines = csv.writer(into, lineterminator="\n")
    heads = [head for place in places for head in (f"class_{place}", f"probability_{place}")]
    lines.writerow(["path", "label", "prediction", "right", *heads])
    chances = torch.softmax(scores.logits.double(), dim=1)
    ranked = torch.sort(scores.logits, dim=1, descending=True, stable=True).indices[:, : len(places)]
    for index, order in enumerate(ranked.tolist()):
        label = int(scores.labels[index])
        likeliest = [cell for k in order for cell in (scores.classes[k], f"{float(chances[index, k]):.6f}")]
        said = scores.classes[order[0]]
        lines.writerow([split.images.name(index), scores.classes[label], said, int(order[0] == label), *likeliest])
    return into.getvalue()


def _drawn(scores: Scores, split: Split, title: str) -> dict[str, bytes]:
    found = calibration.reliability(scores.logits, scores.labels)
    return {
        "confusion_matrix": pictures.confusion_matrix(scores.confusion, scores.classes, title=title),
        "reliability": pictures.reliability_diagram(
            found.edges.tolist(),
            found.images.tolist(),
            found.confidence.tolist(),
            found.accuracy.tolist(),
            title=f"{title}: expected calibration error {found.expected_error:.2%}",
        ),
        "mistakes": _mistakes(scores, split, title),
    }


def _mistakes(scores: Scores, split: Split, title: str) -> bytes:
    """The most confident ones first."""
    said = metrics.predicted(scores.logits)
    confidence = torch.softmax(scores.logits.double(), dim=1)[torch.arange(len(said)), said].numpy()
    wrong = np.flatnonzero(~scores.right)
    shown = [int(i) for i in wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]]
    return pictures.mistakes(
        [in_colour(split.images[i]) for i in shown],
        [scores.classes[int(scores.labels[i])] for i in shown],
        [scores.classes[int(said[i])] for i in shown],
        [float(confidence[i]) for i in shown],
        title=f"{title}: {len(wrong):,} of {scores.images:,} images wrong",
    )


def _beyond(numbers: dict[str, Any], k: int) -> list[str]:
    """A line for each figure that stands for all images, and how the intervals were had."""
    drawn, recall = numbers["bootstrap"], {name: each["recall"] for name, each in numbers["classes"].items()}
    figures = [
        (f"top-{k} accuracy", f"top{k}", ".2%"),
        ("balanced accuracy", "balanced_accuracy", ".2%"),
        ("macro F1", "macro_f1", ".4f"),
        ("negative log-likelihood", "negative_log_likelihood", ".4f"),
        ("Brier score", "brier_score", ".4f"),
        (f"expected calibration error in {calibration.BINS} bins", "expected_calibration_error", ".2%"),
    ]
    return [
        *(
            f"{name} {numbers[key]:{how}} (95 % interval {_span(numbers[f'{key}_interval'], how)})"
            for name, key, how in figures
        ),
        *(
            [f"hardest classes, by recall: {', '.join(f'{name} {recall[name]:.2%}' for name in numbers['hardest'])}"]
            if numbers["hardest"]
            else []
        ),
        f"95 % intervals: Wilson's for top-1, top-{k}, precision and recall; Hanley and McNeil's variance for ROC AUC; "
        f"{drawn['samples']:,} bootstrap samples of the images, seed {drawn['seed']}, for the others. They say what "
        "other images of the same kind would change, not what training anew would; a bootstrap finds no spread where "
        "no image is wrong; – stands for what is not defined",
    ]


def _span(interval: list[float] | None, how: str) -> str:
    return "–" if interval is None else f"{interval[0]:{how}} to {interval[1]:{how}}"


def _classes(details: dict[str, Any]) -> Table:
    figures = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC AUC"}
    columns = ["class", "images", *(head for name in figures.values() for head in (name, "from", "to"))]
    rows = [
        [
            name,
            f"{found['images']:,}",
            *(_share(each) for key in figures for each in (found[key], *(found[f"{key}_interval"] or (None, None)))),
        ]
        for name, found in details["classes"].items()
    ]
    return Table(columns, rows, "classes, each figure with its 95 % interval")


def _pairs(details: dict[str, Any]) -> Table:
    rows = [[pair["class"], pair["taken_for"], f"{pair['images']:,}"] for pair in details["most_confused"]]
    return Table(["class", "taken for", "images"], rows, "most often confused")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
