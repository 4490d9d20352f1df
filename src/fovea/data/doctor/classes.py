"""Findings about classes: sets that differ between splits, names that look the same, too few images, imbalance."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Final

import numpy as np

from fovea.data.doctor.finding import LISTED, Finding, Patient
from fovea.data.doctor.wording import several
from fovea.data.index import SPLITS
from fovea.data.reading import printable

IMBALANCE: Final = 10  # times as many images in the largest class as in the smallest, from which it is warned
FEWEST: Final = 2  # training images of a class


def class_findings(patient: Patient) -> Iterator[Finding]:
    """Everything about classes, the worst first."""
    yield from _foreign(patient)
    yield from _twins(patient)
    yield from _missing(patient)
    yield from _few(patient)
    yield from _imbalance(patient)


def alike(name: str) -> str:
    """What is left of a name without case, blanks around it and Unicode form: names that share it look the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name).casefold()).strip()


def _foreign(patient: Patient) -> Iterator[Finding]:
    known = set(patient.index.classes)
    for place, split in enumerate(SPLITS[1:], start=1):
        counts = zip(patient.index.label_names, patient.counts[:, place].tolist(), strict=True)
        foreign = {name: count for name, count in counts if count and name not in known}
        if foreign:
            title = f"{_classes(foreign)} of {split} that training lacks"
            advice = "train refuses that: call them as training does, or remove them"
            yield _of_classes(f"only in {split}", title, advice, _counted(foreign))


def _of_classes(kind: str, title: str, advice: str, examples: Sequence[tuple[str, ...]], joint: str = ": ") -> Finding:
    return Finding(
        severity="warning",
        kind=kind,
        title=title,
        advice=advice,
        count=len(examples),
        examples=tuple(examples[:LISTED]),
        joint=joint,
    )


def _classes(found: Sized) -> str:
    return several(len(found), "class", "classes")


def _counted(counts: dict[str, int]) -> list[tuple[str, ...]]:
    return [(printable(name), several(count, "image")) for name, count in counts.items()]


def _twins(patient: Patient) -> Iterator[Finding]:
    """Names that differ in nothing a reader sees."""
    found: dict[str, list[str]] = {}
    for name in patient.index.label_names:
        found.setdefault(alike(name), []).append(name)
    twins = [tuple(map(_told_apart(names), names)) for names in found.values() if len(names) > 1]
    if twins:
        title = f"{_classes(twins)} under more than one spelling"
        advice = "they count as different classes; give both one name: case, blanks and Unicode form (NFC) alike"
        yield _of_classes("spelled twice", title, advice, twins, joint=" = ")


def _told_apart(names: list[str]) -> Callable[[str], str]:
    """How to write names so that a reader sees what differs: by code points where they look the same on a screen."""
    return repr if len({unicodedata.normalize("NFC", name) for name in names}) == len(names) else ascii


def _missing(patient: Patient) -> Iterator[Finding]:
    for place, split in enumerate(SPLITS[1:], start=1):
        present = dict(zip(patient.index.label_names, patient.counts[:, place].tolist(), strict=True))
        missing = [(printable(name),) for name in patient.index.classes if not present.get(name, 0)]
        if any(present.values()) and missing:
            title = f"{_classes(missing)} without any image in {split}"
            advice = f"the accuracy of {split} says nothing about them; give it some images of each"
            yield _of_classes(f"missing in {split}", title, advice, missing)


def _few(patient: Patient) -> Iterator[Finding]:
    counts = training_counts(patient)
    empty = {name: count for name, count in counts.items() if not count}
    if empty:
        title = f"{_classes(empty)} without any image to train on"
        advice = "add images of them, or remove them from the classes"
        yield _of_classes("empty classes", title, advice, [(printable(name),) for name in empty])
    few = {name: count for name, count in counts.items() if 0 < count < FEWEST}
    if few:
        title = f"{_classes(few)} with fewer than {FEWEST} training images"
        yield _of_classes("too few images", title, "add images of them, or join them with another class", _counted(few))


def _imbalance(patient: Patient) -> Iterator[Finding]:
    counts = {name: count for name, count in training_counts(patient).items() if count}
    if not counts or max(counts.values()) < IMBALANCE * min(counts.values()):
        return
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    ratio = counts[largest] / counts[smallest]
    yield Finding(
        severity="warning",
        kind="imbalance",
        title=f"The largest class has {ratio:,.0f} times as many training images as the smallest",
        advice=f"from {IMBALANCE}:1 on, accuracy hides the rare classes: look at the accuracy of each, and add images",
        count=1,
        examples=tuple(_counted({name: counts[name] for name in (largest, smallest)})),
    )


def training_counts(patient: Patient) -> dict[str, int]:
    """Training images of each class; where nothing is split yet, all of them."""
    counts = patient.counts
    column = counts[:, 0] if counts[:, : len(SPLITS)].any() else np.asarray(counts.sum(axis=1))
    found = dict(zip(patient.index.label_names, column.tolist(), strict=True))
    return {name: int(found.get(name, 0)) for name in patient.index.classes}
