"""The doctor's report of a data set: what it holds, and what is wrong with it, from its index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.data.doctor.classes import class_findings
from fovea.data.doctor.files import EXTREME, SMALL, file_findings
from fovea.data.doctor.finding import Finding, Patient, Pixels
from fovea.data.doctor.repeats import repeat_findings
from fovea.data.index import SPLITS, Index
from fovea.data.reading import printable

COMMON = 5  # sizes that are named
SEVERITIES = ("bad", "warning", "note")
UNSPLIT = "not split"


class Sizes(NamedTuple):
    """Widths and heights in pixels of the images that can be decoded.

    Args:
        width: Least, median and greatest.
        height: The same.
        small: How many have a side below SMALL.
        extreme: How many are more than EXTREME times as long as wide.
        common: The most common sizes, each as width, height and count.
    """

    width: tuple[int, int, int]
    height: tuple[int, int, int]
    small: int
    extreme: int
    common: tuple[tuple[int, int, int], ...]


class BadFile(NamedTuple):
    """A file that cannot be used, why in a word or three, and the whole sentence."""

    path: str
    reason: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a data set holds, and what is wrong with it; prints itself.

    Args:
        name: What people call the set.
        root: The folder or archive; empty for arrays.
        layout: How it lies.
        files: Image files, the bad ones too.
        usable: Images that can be decoded and have a label.
        bytes: Of all the files.
        classes: Usable images of every class and split: {"cat": {"train": 120, "test": 30}}; classes that only
            validation or test has come last.
        splits: Usable images of every split that occurs; UNSPLIT where nothing is split, or a fraction left them out.
        sizes: Of the usable images; None where there are none.
        formats: Usable images of every format, the most common first.
        modes: The same of stored pixels: "RGB", "L", …
        bad: The files that cannot be used, all.
        findings: What was found, the worst first.
        patient: What the report was made from, for pictures.
        words: What classes mean that are called by a number of ImageNet's, where a file beside the images says it.
    """

    name: str
    root: str
    layout: str
    files: int
    usable: int
    bytes: int
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]
    sizes: Sizes | None
    formats: dict[str, int]
    modes: dict[str, int]
    bad: tuple[BadFile, ...]
    findings: tuple[Finding, ...]
    patient: Patient = field(repr=False, compare=False)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def bad_count(self) -> int:
        """Files that cannot be used: the only ones that make `fovea check` fail."""
        return len(self.bad)

    def called(self, name: str) -> str:
        """A class by its name, and by what that means."""
        return f"{name} {self.words[name]}" if name in self.words else name

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values; paths stay printable."""
        plain = ("name", "root", "layout", "files", "usable", "bytes", "classes", "splits", "formats", "modes")
        return {name: getattr(self, name) for name in plain} | {
            "sizes": self.sizes and self.sizes._asdict(),
            "bad_count": self.bad_count,
            "bad": [file._asdict() for file in self.bad],
            "findings": [finding.as_json() for finding in self.findings],
        }

    def __str__(self) -> str:
        from fovea.data.doctor.text import text

        return text(self)


def examine(index: Index, splits: NDArray[np.int8], *, pixels: Pixels | None = None, refusal: str = "") -> Report:
    """The report of a data set; nothing is opened but a few images that seem to be of one tone.

    Args:
        index: What is known of its files.
        splits: The split of every row after cutting, as its place in SPLITS; -1 for bad rows and what is left out.
        pixels: Decodes a row to (height, width, 3); without it no image is called of one tone, and no page has
            pictures.
        refusal: Why the set could not be cut, where it could not.
    """
    patient = Patient(index, splits, pixels)
    found = [*_refused(refusal), *repeat_findings(patient), *class_findings(patient), *file_findings(patient)]
    rows = patient.usable
    return Report(
        name=printable(index.name),
        root=printable(index.source),
        layout=index.layout,
        files=len(index),
        usable=len(rows),
        bytes=int(index.sizes.sum()),
        classes=_classes(patient),
        splits=_occurring(patient.counts.sum(axis=0)),
        sizes=_sizes(index.widths[rows], index.heights[rows]) if len(rows) else None,
        formats=_counted(index.formats[rows], index.format_names),
        modes=_counted(index.modes[rows], index.mode_names),
        bad=_bad(patient),
        findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
        patient=patient,
    )


def _refused(refusal: str) -> Iterator[Finding]:
    if refusal:
        yield Finding(
            severity="warning",
            kind="cannot be cut",
            title="Training would refuse this set as it is",
            advice="mend that first; all else is said of the files as they lie",
            count=1,
            examples=((printable(refusal.split("\n")[0]),),),
        )


def _bad(patient: Patient) -> tuple[BadFile, ...]:
    index = patient.index
    return tuple(
        BadFile(patient.path(row), printable(index.reasons.get(row, "no label")), printable(index.why(row)))
        for row in index.bad().tolist()
    )


def _occurring(counts: NDArray[np.int64]) -> dict[str, int]:
    return {name: count for name, count in zip((*SPLITS, UNSPLIT), counts.tolist(), strict=True) if count}


def _classes(patient: Patient) -> dict[str, dict[str, int]]:
    """A split that occurs at all stands in every class."""
    columns = list(_occurring(patient.counts.sum(axis=0)))
    shown = patient.counts[:, [(*SPLITS, UNSPLIT).index(name) for name in columns]].tolist()
    rows = dict(zip(patient.index.label_names, shown, strict=True))
    known = set(patient.index.classes)
    foreign = [name for name in rows if name not in known]
    ordered = [*(name for name in patient.index.classes if name in rows), *foreign]
    return {printable(name): dict(zip(columns, rows[name], strict=True)) for name in ordered}


def _counted(places: NDArray[np.uint8], names: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(places, minlength=len(names)).tolist()
    return {
        names[place]: counts[place] for place in sorted(range(len(names)), key=lambda n: -counts[n]) if counts[place]
    }


def _sizes(widths: NDArray[np.int32], heights: NDArray[np.int32]) -> Sizes:
    shorter, longer = np.minimum(widths, heights), np.maximum(widths, heights)
    sizes, counts = np.unique(np.stack([widths, heights], axis=1), axis=0, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:COMMON]
    return Sizes(
        _range(widths),
        _range(heights),
        int((shorter < SMALL).sum()),
        int((longer > EXTREME * shorter).sum()),
        tuple((int(sizes[n, 0]), int(sizes[n, 1]), int(counts[n])) for n in common),
    )


def _range(sides: NDArray[np.int32]) -> tuple[int, int, int]:
    return int(sides.min()), int(np.median(sides)), int(sides.max())
