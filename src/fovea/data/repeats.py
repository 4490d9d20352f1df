"""Findings about images that occur more than once: across splits, under two labels, within a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.data.duplicates import NEAR, Near, exact, groups, near
from fovea.data.finding import LISTED, Finding, Patient, Severity
from fovea.data.index import SPLITS
from fovea.data.looks import BITS
from fovea.data.wording import in_words, several, share

IN_LINE: Final = 3  # members of a group that an example names


class Kind(NamedTuple):
    """What a finding calls copies: "identical images", "near copies"."""

    word: str
    noun: str
    sure: bool


IDENTICAL = Kind("identical", "identical images", True)
NEARLY = Kind("near", "near copies", False)


def repeat_findings(patient: Patient) -> Iterator[Finding]:
    """Everything about copies, the most harmful first."""
    same = exact(patient.index.digests, patient.usable)
    yield from _of_groups(patient, IDENTICAL, same)
    copies = [row for group in same for row in group[1:]]
    rows = np.setdiff1d(patient.usable, np.array(copies, np.int64))
    found = near(patient.index.looks[rows])
    yield from _of_groups(patient, NEARLY, [rows[group].tolist() for group in groups(found.pairs)])
    yield from _by_nature(found)


def _of_groups(patient: Patient, kind: Kind, found: list[list[int]]) -> Iterator[Finding]:
    across = [group for group in found if len({patient.split(row) for row in group} - {""}) > 1]
    torn = [group for group in found if len({patient.label(row) for row in group}) > 1]
    within = [group for group in found if group not in across and group not in torn] if across or torn else found
    if across:
        yield _across(patient, kind, across)
    if torn:
        title = f"{several(len(torn), 'group')} of {kind.noun} under more than one label"
        advice = "at most one label is right: look at them, and keep the images under that one"
        yield _finding(patient, kind, "under two labels", torn, "warning", title, advice)
    if within:
        several_copies = several(sum(map(len, within)) - len(within), "copy", "copies")
        title = f"{several(len(within), 'group')} of {kind.noun} within one split ({several_copies} too many)"
        advice = "they count several times in training and in scores; keep one of each" if kind.sure else SIMILAR
        yield _finding(patient, kind, "within a split", within, "warning" if kind.sure else "note", title, advice)


SIMILAR: Final = "frames of one film or variants of one picture say little new; a new split must not part them"


def _across(patient: Patient, kind: Kind, found: list[list[int]]) -> Finding:
    """What scores of validation and test are worth: how many of their images training has seen."""
    seen = [row for group in found if any(patient.split(row) == SPLITS[0] for row in group) for row in group]
    places = patient.splits[np.array(seen, np.int64)]
    parts = []
    for place, split in enumerate(SPLITS[1:], start=1):
        leaked, whole = int((places == place).sum()), int((patient.splits[patient.usable] == place).sum())
        if leaked:
            parts.append(f"{leaked:,} of {several(whole, f'{split} image')} ({share(leaked, whole)})")
    title = f"{several(len(found), 'group')} of {kind.noun} in more than one split"
    title += f": {in_words(parts)} known from training" if parts else ""
    if (patient.index.splits >= 0).any():
        advice = "scores flatter: remove the copies from training" + ("" if kind.sure else ", once you have looked")
    else:
        advice = "scores flatter: keep one of each, or split by hand so that copies stay together"
    return _finding(patient, kind, "across splits", found, "warning", title, advice)


def _finding(
    patient: Patient, kind: Kind, where: str, found: list[list[int]], severity: Severity, title: str, *advice: str
) -> Finding:
    say = {"across splits": patient.split, "under two labels": patient.label}.get(where)
    examples = []
    for group in found[:LISTED]:
        shown = _telling(group, [say(row) for row in group]) if say else group[:IN_LINE]
        named = [patient.path(row) + (f" ({say(row) or 'in no split'})" if say else "") for row in shown]
        examples.append("\n= ".join(named) + (f"\n= {len(group) - len(shown):,} more" if len(group) > len(shown) else ""))
    return Finding(
        severity=severity,
        kind=f"{kind.word} {where}",
        title=title,
        advice=" ".join(advice),
        count=len(found),
        examples=tuple(examples),
        groups=tuple(map(tuple, found[:LISTED])),
    )
