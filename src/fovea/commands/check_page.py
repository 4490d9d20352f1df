"""The doctor's report as sections of a page: tables that a click sorts, and pictures of what the words are about."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fovea.data.doctor.text import described, verdict
from fovea.data.doctor.wording import several, share, shortened
from fovea.pictures.page import Picture, Section, Table, Text

if TYPE_CHECKING:
    from fovea.data.doctor.finding import Finding
    from fovea.data.doctor.report import BadFile, Report

Thumbnails = Callable[[int], NDArray[np.uint8] | None]
SIDE = 160  # pixels of a picture's longer side
CLASSES = 20  # whose images are shown; of more, the first
EACH = 4  # images of a class, two classes in a row
SINGLES, GROUPS, MEMBERS = 24, 15, 3  # images shown of a finding; groups, and members of each
SINGLE, GROUP, SAMPLE = (6, 1.4), (3, 2.8), (2 * EACH, 1.05)  # columns, and inches of each: 1,260 pixels together
LINES = 1000  # of a table
PATH = 80  # columns of a path
WORDS = 56  # columns of a sentence, which is wrapped


def sections(report: Report, thumbnails: Thumbnails | None = None) -> list[Section]:
    """Everything the report says, with pictures.

    Args:
        report: What was found.
        thumbnails: Decodes a row to (height, width, 3), small or not; None where it cannot. The report's own pixels
            where nothing is given.
    """
    thumbnails = thumbnails or _thumbnails(report)
    found: list[Section] = [
        Text(verdict(report)),
        Table(("What", "How much"), described(report), "The set"),
    ]
    if report.findings:
        found.append(_findings(report))
    if report.bad:
        rows = [(shortened(file.path, PATH), file.reason, _wrapped(_without_path(file))) for file in report.bad]
        found.append(Table(("File", "Reason", "In full"), rows[:LINES], _first("Files that cannot be used", rows)))
    for finding in report.findings:
        found += _finding(report, finding, thumbnails)
    if report.classes:
        found += [*_examples(report, thumbnails), _classes(report)]
    return found


def _findings(report: Report) -> Section:
    rows = [(each.severity, _found(each), f"{each.count:,}", _wrapped(each.advice)) for each in report.findings]
    return Table(("Severity", "Found", "Count", "What to do"), rows, "Findings, the worst first")


def _found(finding: Finding) -> str:
    """Its title, and the one example of what has no table of its own."""
    single = finding.count == 1 and finding.severity != "bad"
    examples = [finding.joint.join(parts) for parts in finding.examples] if single else []
    return "\n".join(map(_wrapped, [finding.title, *examples]))


def _without_path(file: BadFile) -> str:
    """The sentence, which begins with the path."""
    path, _, rest = file.sentence.partition(": ")
    return rest if path.endswith(file.path) else file.sentence


def _wrapped(words: str) -> str:
    return textwrap.fill(words, WORDS, break_on_hyphens=False)


def _first(caption: str, rows: Sequence[object]) -> str:
    return caption if len(rows) <= LINES else f"{caption} (the first {LINES:,} of {len(rows):,})"


def _finding(report: Report, finding: Finding, thumbnails: Thumbnails) -> Iterator[Section]:
    """Its pictures, and its examples as a table; bad files have their own."""
    picture = _sheet(report, finding, thumbnails)
    if picture:
        yield picture
    if finding.examples and finding.severity != "bad" and finding.count > 1:
        most = max(map(len, finding.examples))
        heads = ("First", "Second", "Third", "More")[:most] if finding.groups and most > 1 else ("What", "More")[:most]
        rows = [
            tuple(shortened(part, PATH) for part in parts) + ("",) * (most - len(parts)) for parts in finding.examples
        ]
        yield Table(heads, rows, _listed(finding))


def _listed(finding: Finding) -> str:
    shown, words = len(finding.examples), finding.kind.capitalize()
    return words if shown == finding.count else f"{words} (the first {shown:,} of {finding.count:,})"


def _sheet(report: Report, finding: Finding, thumbnails: Thumbnails) -> Picture | None:
    """Single images, or groups side by side."""
    from fovea.pictures.contact_sheet import beside, contact_sheet

    single = all(len(group) == 1 for group in finding.groups)
    images, captions = [], []
    for group in finding.groups[: SINGLES if single else GROUPS]:
        members = [(row, image) for row in group[:MEMBERS] if (image := thumbnails(row)) is not None]
        if members:
            images.append(members[0][1] if single else beside([image for _, image in members], side=SIDE))
            captions.append("\n".join(_caption(report, finding, row) for row, _ in members))
    if not images:
        return None
    columns, cell = SINGLE if single else GROUP
    content = contact_sheet(images, captions, title="", columns=columns, cell=cell)
    return Picture(content, _shown(finding, len(images)))


def _shown(finding: Finding, shown: int) -> str:
    return finding.title if shown == finding.count else f"{finding.title} ({shown} of {finding.count:,} shown)"


def _caption(report: Report, finding: Finding, row: int) -> str:
    """The path, with its label or split where that is what the finding is about and the path does not say it."""
    patient = report.patient
    path = patient.path(row)
    said = patient.label(row) if finding.kind.endswith("two labels") else patient.split(row)
    return path if not said or path.startswith(said) else f"{path} ({said})"


def _examples(report: Report, thumbnails: Thumbnails) -> Iterator[Section]:
    """A few images of each class, evenly chosen from those it has."""
    from fovea.pictures.contact_sheet import contact_sheet

    patient = report.patient
    labels = patient.index.labels[patient.usable]
    images, captions = [], []
    for name in list(patient.index.classes)[:CLASSES]:
        label = patient.index.label_names.index(name) if name in patient.index.label_names else -2
        rows = patient.usable[labels == label]
        chosen = np.unique(np.linspace(0, max(len(rows) - 1, 0), min(EACH, len(rows))).astype(int))
        shown = [image for row in rows[chosen].tolist() if (image := thumbnails(row)) is not None]
        images += shown + [BLANK] * (EACH - len(shown))
        captions += [name] * len(shown) + [""] * (EACH - len(shown))
    if any(captions):
        content = contact_sheet(images, captions, title="", columns=SAMPLE[0], cell=SAMPLE[1])
        more = f" (the first {CLASSES} of {len(report.classes):,})" if len(report.classes) > CLASSES else ""
        yield Picture(content, f"Images of each class{more}")


BLANK = np.full((1, 1, 3), 255, np.uint8)


def _classes(report: Report) -> Section:
    """Every class with its counts, and its share of the first split."""
    first = next(iter(report.splits), "")
    heads = ("Class", *report.splits, f"share of {first}")
    whole = report.splits.get(first, 0)
    rows = [
        (
            shortened(report.called(name), PATH),
            *(f"{count:,}" for count in counts.values()),
            share(counts.get(first, 0), whole),
        )
        for name, counts in report.classes.items()
    ]
    return Table(heads, rows, several(len(rows), "class", "classes"))


def _thumbnails(report: Report) -> Thumbnails:
    """The report's own pixels, scaled down; None for what has changed on the disk since."""
    from PIL import Image

    pixels = report.patient.pixels

    def thumbnail(row: int) -> NDArray[np.uint8] | None:
        if pixels is None:
            return None
        try:
            image = Image.fromarray(pixels(row))
        except Exception:  # an image that cannot be decoded has no picture; the report says why
            return None
        factor = max(1, max(image.size) // SIDE)
        small = image.reduce(factor) if factor > 1 else image
        small.thumbnail((SIDE, SIDE))
        return np.asarray(small.convert("RGB"))

    return thumbnail
