"""Sub-populations: how a model fares on parts of a split, named by patterns of paths or by a table's column."""

from __future__ import annotations

import fnmatch
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.sources.table import HEADS, rows_of
from fovea.errors import DataError, ShapeError, suggestion
from fovea.evaluation.metrics import check_counts, predicted, wilson_interval

MOST_VALUES = 50  # of a column; above it the numbers are continuous or the names are the images' own
NOT_LISTED = "(not in the table)"
EMPTY = "(empty)"
NAMED = 10  # columns that a message lists

Masks = dict[str, Bool[NDArray[np.bool_], "n"]]


@dataclass(frozen=True, kw_only=True)
class SliceScores:
    """How good a model is on one slice.

    Args:
        name: The pattern, or the column's value.
        images: How many belong to it.
        top1: The fraction of them that is right, in [0, 1].
        top1_interval: Its 95 % Wilson interval.
    """

    name: str
    images: int
    top1: float
    top1_interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.top1_interval
        interval = f"95 % interval {low:.2%} to {high:.2%}"
        return f"{self.name}: top-1 accuracy {self.top1:.2%} ({interval}), {self.images:,} images"


def slices_by_pattern(paths: Sequence[str], patterns: Sequence[str]) -> Masks:
    """For each shell pattern a mask of the images whose whole path it matches; slices may overlap.

    `*` stands for anything, slashes too, `?` for one character, `[ab]` for one of these. Case counts.

    Raises:
        DataError: a pattern matches no image.
    """
    found = {}
    for pattern in patterns:
        mask = np.fromiter((fnmatch.fnmatchcase(path, pattern) for path in paths), np.bool_, len(paths))
        if not mask.any():
            such = f", of which the first is {paths[0]}" if paths else ""
            raise DataError(
                f"the pattern {pattern!r} must match an image's whole path and matches none of {len(paths):,}{such}; "
                "* stands for anything, slashes too"
            )
        found[pattern] = mask
    return found


def slices_by_column(table: Path, column: str, paths: Sequence[str]) -> Masks:
    """For each value of a table's column a mask of the images that have it, in sorted order of the values.

    The table is a CSV with a head, separated by commas, semicolons or tabs, with a column `path` or `file` (or
    another of the names that tables of images use). A row belongs to the image of that very path; else to the one
    image whose path ends in the row's after a slash; else to the one in whose path the row's ends so. Rows of other
    images are passed over. Images without a row come last, as "(not in the table)"; an empty cell is "(empty)".

    Raises:
        DataError: the table cannot be read, is empty or no UTF-8, lacks the column or one of paths; a row is too short,
            ends several images' paths, or says another value of an image than one before; no image is in the table;
            or its images have more than 50 values.
    """
    values = _matched(table, _listed(table, column), paths)
    cells = [values.get(posixpath.normpath(path)) for path in paths]
    distinct = sorted({cell for cell in cells if cell is not None})
    if not distinct:
        such = f" (the first is {paths[0]})" if paths else ""
        raise DataError(
            f"{table}: lists none of the {len(paths):,} images{such}; its paths must be theirs, or end them"
        )
    if len(distinct) > MOST_VALUES:
        raise DataError(
            f"{table}: column {column!r} has {len(distinct):,} different values, such as {distinct[0]!r} and "
            f"{distinct[1]!r}; slices are at most {MOST_VALUES}, so sort a continuous column into a few ranges first"
        )
    named = {value or EMPTY: _mask(cells, value) for value in distinct}
    missing = _mask(cells, None)
    return {**named, NOT_LISTED: missing} if missing.any() else named


def sliced(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"], slices: Mapping[str, Bool[NDArray[np.bool_], "_"]]
) -> list[SliceScores]:
    """The accuracy on each slice, in their order.

    Args:
        logits: Of all images.
        labels: Of all images.
        slices: Masks of the images by the slice's name.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0, or a mask is of another length.
        DataError: a slice holds no image.
    """
    check_counts(logits, labels)
    right = (predicted(logits) == labels).numpy()
    found = []
    for name, mask in slices.items():
        if len(mask) != len(right):
            raise ShapeError(f"the slice {name!r} is a mask of {len(mask):,} images, and {len(right):,} were judged")
        images, correct = int(mask.sum()), int(right[mask].sum())
        if not images:
            raise DataError(f"the slice {name!r} holds no image, so it has no accuracy; leave it out")
        found.append(
            SliceScores(name=name, images=images, top1=correct / images, top1_interval=wilson_interval(correct, images))
        )
    return found


def _mask(cells: Sequence[str | None], value: str | None) -> NDArray[np.bool_]:
    return np.fromiter((cell == value for cell in cells), np.bool_, len(cells))


def _matched(table: Path, listed: Mapping[str, tuple[str, int]], paths: Sequence[str]) -> dict[str, str]:
    """The value of each image that the table lists, by its path; the very path goes before endings."""
    images = {posixpath.normpath(path) for path in paths}
    ends: dict[str, list[str]] = defaultdict(list)
    for image in sorted(images):
        for end in _endings(image):
            ends[end].append(image)
    found: dict[str, tuple[str, int]] = {}
    for path, (value, line) in listed.items():
        if path in images:
            continue
        meant = _image(table, path, line, images, ends)
        if meant is None or meant in listed:
            continue
        before, other = found.setdefault(meant, (value, line))
        if before != value:
            raise DataError(
                f"{table}, line {line}: {path} is {value!r} here, and line {other} says {before!r} of the same image "
                f"{meant}; keep one, or write whole paths"
            )
    exact = {path: value for path, (value, _) in listed.items() if path in images}
    return exact | {image: value for image, (value, _) in found.items()}


def _image(table: Path, path: str, line: int, images: set[str], ends: Mapping[str, list[str]]) -> str | None:
    """The image whose path ends in this one, or in which this one ends."""
    longer = ends.get(path, [])
    if len(longer) > 1:
        raise DataError(
            f"{table}, line {line}: {path} ends the paths of {len(longer):,} images, such as {longer[0]} and "
            f"{longer[1]}; write more of the path"
        )
    return longer[0] if longer else next((end for end in _endings(path) if end in images), None)


def _endings(path: str) -> Iterator[str]:
    """What stands after each slash, the longest first."""
    _, slash, rest = path.partition("/")
    while slash:
        if rest:
            yield rest
        _, slash, rest = rest.partition("/")


def _listed(table: Path, column: str) -> dict[str, tuple[str, int]]:
    """The column's value and the line of each path in the table."""
    rows = rows_of(table)
    _, head = next(rows, (0, []))
    if not head:
        raise DataError(f"{table}: is empty; expected a head such as 'path,{column}', then a line for each image")
    names = [cell.strip() for cell in head]
    if column not in names:
        there = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
        raise DataError(f"{table}: has no column {column!r}; it has {there}.{suggestion(column, names)}")
    lower = [name.lower() for name in names]
    key = next((lower.index(name) for name in HEADS["path"] if name in lower), -1)
    if key < 0:
        raise DataError(f"{table}: has no column of paths; call it path or file (its columns are {', '.join(names)})")
    place = names.index(column)
    found: dict[str, tuple[str, int]] = {}
    for line, row in rows:
        if len(row) <= max(key, place) or not row[key].strip():
            raise DataError(
                f"{table}, line {line}: must have a path and a cell for {column!r}; mend or leave out the line"
            )
        path, value = posixpath.normpath(row[key].strip()), row[place].strip()
        before, other = found.setdefault(path, (value, line))
        if before != value:
            raise DataError(f"{table}, line {line}: {path} is {value!r} here and {before!r} in line {other}; keep one")
    return found
