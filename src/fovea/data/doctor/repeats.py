"""Findings about images that occur more than once: across splits, under two labels, within a split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from fovea.data.doctor.duplicates import NEAR, Near, exact, groups, near
from fovea.data.doctor.finding import LISTED, Finding, Patient
from fovea.data.doctor.wording import in_words, several, share
from fovea.data.index import SPLITS
from fovea.data.looks import BITS

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
    splits = [{patient.split(row) for row in group} - {""} for group in found]
    labels = [{patient.label(row) for row in group} for group in found]
    across = [group for group, names in zip(found, splits, strict=True) if len(names) > 1]
    torn = [group for group, names in zip(found, labels, strict=True) if len(names) > 1]
    within = [group for group, some, names in zip(found, splits, labels, strict=True) if max(len(some), len(names)) < 2]
    if across:
        yield _across(patient, kind, across)
    if torn:
        yield _finding(patient, kind, "under two labels", torn, _advice(kind, "under two labels"))
    if within:
        yield _finding(patient, kind, "within a split", within, _advice(kind, "within a split"))


def _advice(kind: Kind, where: str) -> str:
    if where == "under two labels":
        unsure = "" if kind.sure else "where they are one picture, "
        return f"look at them: {unsure}one label at most is right; keep each image under that one"
    if kind.sure:
        return "they count several times, in training and in scores; keep one of each"
    return "nothing, where they are meant (frames of a film, variants of a picture); else keep one of each"


def _across(patient: Patient, kind: Kind, found: list[list[int]]) -> Finding:
    """What scores of validation and test are worth: how many of their images training has seen."""
    seen = [row for group in found if any(patient.split(row) == SPLITS[0] for row in group) for row in group]
    places = patient.splits[np.array(seen, np.int64)]
    parts = []
    for place, split in enumerate(SPLITS[1:], start=1):
        leaked, whole = int((places == place).sum()), int((patient.splits[patient.usable] == place).sum())
        if leaked:
            parts.append(f"{leaked:,} of {several(whole, f'{split} image')} ({share(leaked, whole)})")
    if (patient.index.splits >= 0).any():
        advice = "scores flatter: remove the copies from training" + ("" if kind.sure else ", once you have looked")
    else:
        advice = "scores flatter: keep one of each, or put them into splits by hand, copies together"
    known = f"; training holds {in_words(parts)}" if parts else ""
    return _finding(patient, kind, "across splits", found, advice, known)


def _finding(patient: Patient, kind: Kind, where: str, found: list[list[int]], advice: str, more: str = "") -> Finding:
    harmless = where == "within a split" and not kind.sure
    return Finding(
        severity="note" if harmless else "warning",
        kind=f"{kind.word}, {where}",
        title=f"{several(len(found), 'group')} of {kind.noun} {where}{more}",
        advice=advice,
        count=len(found),
        examples=tuple(_example(patient, where, group) for group in found[:LISTED]),
        joint=" = ",
        groups=tuple(map(tuple, found[:LISTED])),
    )


def _example(patient: Patient, where: str, group: list[int]) -> tuple[str, ...]:
    """The first members of a group, one of each split or label before a second of any."""
    say = {"across splits": patient.split, "under two labels": patient.label}.get(where)
    said = [say(row) for row in group] if say else [""] * len(group)
    firsts = {word: place for place, word in reversed(list(enumerate(said)))}
    order = sorted(range(len(group)), key=lambda place: (firsts[said[place]] != place, place))[:IN_LINE]
    shown = [patient.path(group[place]) + (f" ({said[place]})" if said[place] else "") for place in sorted(order)]
    return (*shown, f"{len(group) - IN_LINE:,} more") if len(group) > IN_LINE else tuple(shown)


def _by_nature(found: Near) -> Iterator[Finding]:
    """What was not counted, and why."""
    if found.alike or not found.complete:
        pairs = ("" if found.complete else "at least ") + several(found.alike, "pair")
        yield Finding(
            severity="note",
            kind="alike by nature",
            title=f"{pairs} of images that differ as little as copies do, but so do others around them",
            advice=f"nothing: they are alike by nature, and {NEAR} of {BITS} bits are too little to tell copies",
            count=found.alike,
        )
