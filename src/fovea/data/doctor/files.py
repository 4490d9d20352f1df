"""Findings of single files: what cannot be used, what is odd, what lies there beside the images."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fovea.data.doctor.finding import LISTED, Finding, Patient, Severity
from fovea.data.doctor.wording import in_words, several, share
from fovea.data.index import CMYK, DEEP, FRAMES, LINK, ODD, SUFFIX, TRANSPARENT, TURNED
from fovea.data.reading import printable

SMALL: Final = 32  # pixels of the shorter side
EXTREME: Final = 10  # times the other side
FLAT: Final = 2  # grey levels between the darkest and the brightest pixel of an image of one tone
LOOKED_AT: Final = 500  # images that are decoded to find those of one tone
GREY: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
TREATMENT: Final[dict[int, tuple[Severity, str]]] = {
    SUFFIX: ("note", "they are read by their content; rename them, so that other programs read them too"),
    FRAMES: ("warning", "only the first frame is used; save the frames you mean as images of their own"),
    TURNED: ("note", "every command of fovea turns them upright; a program that does not will see them lying"),
    DEEP: ("warning", "where the contrast lies in the lower eight, scale the values and save them with 8 bits"),
    CMYK: ("warning", "they are converted without a colour profile, so colours may be off; convert them to RGB"),
    TRANSPARENT: ("warning", "where white is the wrong ground, save them without transparency"),
    LINK: ("note", "the set changes when what they point to does; copy the files where it is to stay"),
}


def file_findings(patient: Patient) -> Iterator[Finding]:
    """Everything about single files, the worst first."""
    yield from _bad(patient)
    yield from _odd(patient)
    yield from _shapes(patient)
    yield from _tones(patient)
    yield from _strays(patient)


def _bad(patient: Patient) -> Iterator[Finding]:
    index = patient.index
    reasons = Counter(index.reasons.values()).most_common()
    if reasons:
        counted = in_words([f"{count:,} {printable(reason)}" for reason, count in reasons])
        examples = tuple((patient.path(row), printable(index.reasons[row])) for row in sorted(index.reasons))
        yield Finding(
            severity="bad",
            kind="cannot be decoded",
            title=f"{several(len(examples), 'file')} that cannot be decoded: {counted}",
            advice=f"restore or remove them; train leaves them out with --allow-bad {len(index.bad())}",
            count=len(examples),
            examples=examples,
        )
    rows = [row for row in np.flatnonzero(index.labels < 0).tolist() if row not in index.reasons]
    if rows:
        yield Finding(
            severity="bad",
            kind="no label",
            title=f"{several(len(rows), 'image')} without a label",
            advice="put each into the folder of its class, or remove it",
            count=len(rows),
            examples=tuple((patient.path(row),) for row in rows),
            groups=tuple((row,) for row in rows[:LISTED]),
        )


def _odd(patient: Patient) -> Iterator[Finding]:
    for bit, (severity, advice) in TREATMENT.items():
        rows = patient.usable[(patient.index.odd[patient.usable] & bit) > 0]
        what = ODD[bit.bit_length() - 1]
        if len(rows):
            yield _of_rows(patient, rows, severity, what, f"{several(len(rows), 'image')}: {what}", advice)


def _of_rows(
    patient: Patient, rows: NDArray[np.int64], severity: Severity, kind: str, title: str, advice: str
) -> Finding:
    groups = tuple((row,) for row in rows[:LISTED].tolist())
    return Finding(
        severity=severity,
        kind=kind,
        title=title,
        advice=advice,
        count=len(rows),
        examples=tuple((patient.path(row),) for (row,) in groups),
        groups=groups,
    )


def _shapes(patient: Patient) -> Iterator[Finding]:
    rows = patient.usable
    widths, heights = patient.index.widths[rows], patient.index.heights[rows]
    shorter, longer = np.minimum(widths, heights), np.maximum(widths, heights)
    long = rows[longer > EXTREME * shorter]
    if len(long):
        title = f"{several(len(long), 'image')} more than {EXTREME} times as long as wide"
        advice = "a network sees a square cut from the middle of each; cut out what matters, or remove them"
        yield _of_rows(patient, long, "warning", "extreme shape", title, advice)
    small = rows[shorter < SMALL]
    if len(small):
        title = f"{several(len(small), 'image')} ({share(len(small), len(rows))}) with a side below {SMALL} pixels"
        advice = "enlarging adds no detail; a network made for small images suits them (lenet5, cifar_…)"
        found = _of_rows(patient, small, "note", "small", title, advice)
        yield found if 2 * len(small) < len(rows) else dataclasses.replace(found, examples=(), groups=())


def _tones(patient: Patient) -> Iterator[Finding]:
    """Images of one tone, and grey ones among colours."""
    index, rows = patient.index, patient.usable
    flat = np.array([row for row in rows[~index.looks[rows].any(axis=1)][:LOOKED_AT].tolist() if _flat(patient, row)])
    if len(flat):
        advice = "one tone teaches nothing: see whether the camera or the export failed, and remove them"
        title = f"{several(len(flat), 'image')} of one tone, without any content"
        yield _of_rows(patient, flat.astype(np.int64), "warning", "one tone", title, advice)
    names = np.array([name in GREY for name in index.mode_names], bool)
    grey = rows[names[index.modes[rows]]] if len(names) else rows[:0]
    if 0 < len(grey) < len(rows):
        title = f"{several(len(grey), 'image')} ({share(len(grey), len(rows))}) stored in grey among colours"
        advice = "no harm, unless one class is grey more often: a network would learn that instead"
        yield _of_rows(patient, grey, "note", "grey among colours", title, advice)


def _flat(patient: Patient, row: int) -> bool:
    if patient.pixels is None:
        return False
    try:
        pixels = patient.pixels(row)
    except Exception:  # the file has changed since it was indexed: no reason to lose the report
        return False
    return int(pixels.max(initial=0)) - int(pixels.min(initial=255)) <= FLAT


def _strays(patient: Patient) -> Iterator[Finding]:
    strays = patient.index.strays
    if strays:
        examples = tuple((printable(path), printable(what)) for path, what in list(strays.items())[:LISTED])
        yield Finding(
            severity="warning",
            kind="no part of the set",
            title=f"{several(len(strays), 'thing')} beside the images, passed over",
            advice="nothing, if they are no images; convert images of other formats to JPEG or PNG",
            count=len(strays),
            examples=examples,
        )
