"""From an index to a data set: bad rows counted and left out, labels by name, the rest cut into splits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.data.cutting import LEFT_OUT, Cut, assigned
from fovea.data.index import SPLITS, Index
from fovea.data.sets import Data, FileImages, Split, check_classes
from fovea.data.splits import Fractions
from fovea.errors import DataError, Unlabelled, suggestion

SPLIT: Fractions = (0.8, 0.1, 0.1)
NAMED_FAILURES = 10


def data_of(index: Index, cut: Cut, *, allow_bad: int = 0) -> Data:
    """The data set of an index.

    Args:
        index: What was found.
        cut: How to cut what is not split already.
        allow_bad: How many files that cannot be used are left out, before that is refused.

    Raises:
        Unlabelled: no file has a label.
        DataError: more bad files than that, named; a class that only validation or test has; what cannot be learned
            from or cut so.
    """
    if len(index) and not index.classes:
        raise Unlabelled(f"{index.source}: no image has a label; put each into its class's folder, <class>/<image>")
    check_bad(index, allow_bad)
    check_class_sets(index)
    places = assign(index, cut)
    labels = class_labels(index)
    splits: dict[str, Any] = {}
    for place, name in enumerate(SPLITS):
        rows = np.flatnonzero(places == place)
        if name in index.declared and not len(rows):
            raise DataError(f"{index.source}: the {name} folder holds no image")
        splits[name] = Split(name, FileImages(index, rows), labels[rows], index.classes) if len(rows) else None
    if splits["train"] is not None:
        check_classes("the training split", splits["train"])
    return Data(
        name=index.name, classes=index.classes, channels=3, image_size=_common_side(index), index=index, **splits
    )


def assign(index: Index, cut: Cut) -> NDArray[np.int8]:
    """The split of every row as its place in SPLITS; LEFT_OUT for bad rows and for what a fraction leaves out.

    Raises:
        DataError: what cannot be learned from, or cut so.
    """
    good = np.setdiff1d(np.arange(len(index)), index.bad())
    labels = class_labels(index)
    there = good[(index.splits[good] <= 0)]
    check_classes(index.source, Split("train", FileImages(index, there), labels[there], index.classes))
    places = np.full(len(index), LEFT_OUT, np.int8)
    places[good] = assigned(labels[good], index.splits[good], cut.otherwise(SPLIT))
    return places


def notes(data: Data) -> list[str]:
    """What a person should know of a set of files before training on it, a sentence each; nothing is opened for it."""
    index = data.index
    if index is None:
        return []
    found = []
    bad = index.bad().tolist()
    if bad:
        found.append(f"{len(bad)} files are left out, because they cannot be used; the first: {index.why(bad[0])}")
    rows = {name: split.images.rows for name in SPLITS if (split := getattr(data, name)) is not None}
    trained = {index.digest(row) for row in rows.get("train", np.empty(0, np.int64)).tolist()}
    for name in ("validation", "test"):
        again = sum(index.digest(row) in trained for row in rows.get(name, np.empty(0, np.int64)).tolist())
        if again:
            found.append(
                f"{again} of {len(rows[name])} {name} images are training images too, byte for byte, so that {name} "
                f"accuracy is too high ('fovea check {index.source}' names them)"
            )
    return found


def class_labels(index: Index) -> NDArray[np.int64]:
    """The label of every row as a place in the training classes; -1 for none, and for a class that training lacks."""
    places = {name: place for place, name in enumerate(index.classes)}
    lookup = np.array([places.get(name, -1) for name in index.label_names] + [-1], np.int64)
    return lookup[index.labels]  # label -1 finds the last, which is -1


def check_bad(index: Index, allowed: int) -> None:
    """Refuse more bad files than are allowed.

    Raises:
        DataError: with the first ten, and the reason of each.
    """
    bad = index.bad().tolist()
    if len(bad) <= allowed:
        return
    named = "\n  ".join(index.why(row) for row in bad[:NAMED_FAILURES])
    more = f"\n  and {len(bad) - NAMED_FAILURES} more" if len(bad) > NAMED_FAILURES else ""
    limit = f", more than the {allowed} allowed" if allowed else ""
    raise DataError(
        f"{len(bad)} of {len(index)} files in {index.source} cannot be used{limit}; mend or remove them, or leave them "
        f"out with --allow-bad {len(bad)} ('fovea check {index.source}' lists all):\n  {named}{more}"
    )


def check_class_sets(index: Index) -> None:
    """Refuse a class that validation or test has and training lacks; classes are matched by name.

    Raises:
        DataError: with the name, and close ones.
    """
    known = set(index.classes)
    foreign = [label for label, name in enumerate(index.label_names) if name not in known]
    for label in foreign:
        row = int(np.flatnonzero(index.labels == label)[0])
        name, split = index.label_names[label], SPLITS[index.splits[row]]
        raise DataError(
            f"{index.source}: the class {name!r} of {split} is no class of the training images, which have "
            f"{len(known)}: {', '.join(index.classes[:10])}{', …' if len(known) > 10 else ''}."
            f"{suggestion(name, index.classes)}"
        )


def _common_side(index: Index) -> int | None:
    """The side of the images where all are square and equal."""
    sides = set(np.unique(index.widths[index.widths > 0]).tolist()) | set(
        np.unique(index.heights[index.heights > 0]).tolist()
    )
    return sides.pop() if len(sides) == 1 else None
