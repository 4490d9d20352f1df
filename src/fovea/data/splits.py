"""Cutting one set into train, validation and test: stratified, by a seed, the same wherever it runs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fovea import randomness
from fovea.errors import DataError, UsageError

Fractions = tuple[float, float, float]


def parse_fractions(text: str) -> Fractions:
    """The text "0.8/0.1/0.1" as three fractions of train, validation and test.

    Raises:
        UsageError: not three numbers from 0 to 1 that sum to 1, or nothing for train.
    """
    try:
        train, validation, test = (float(part) for part in text.split("/"))
    except ValueError as error:
        raise UsageError(f"split (={text}) must be three fractions such as 0.8/0.1/0.1") from error
    fractions = (train, validation, test)
    if not all(0 <= f <= 1 for f in fractions) or not math.isclose(sum(fractions), 1, abs_tol=1e-6) or train == 0:
        raise UsageError(f"split (={text}) must be three fractions from 0 to 1 that sum to 1, the first above 0")
    return fractions


def stratified(labels: NDArray[np.int64], fractions: Fractions, seed: int) -> list[NDArray[np.int64]]:
    """Indices of train, validation and test: of every class the same fractions, to within one image (train: two).

    Each class is put in an order drawn from the seed, and cut. Validation and test have exactly their fraction of the
    whole, rounded; train has the rest. Indices come sorted.

    Raises:
        DataError: a fraction above 0 rounds to no image at all.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    held = _shares(sizes, fractions[1], sizes)
    cuts = [held, _shares(sizes, fractions[2], sizes - held)]
    parts: list[list[NDArray[np.int64]]] = [[], [], []]
    for n, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        members = members[randomness.permutation(randomness.key(seed, "split", int(label)), len(members))]
        validation, test = int(cuts[0][n]), int(cuts[1][n])
        train = len(members) - validation - test
        for part, chosen in zip(parts, np.split(members, [train, train + validation]), strict=True):
            part.append(chosen)
    indices = [np.sort(np.concatenate(part)) for part in parts]
    for name, fraction, chosen in zip(("train", "validation", "test"), fractions, indices, strict=True):
        if fraction > 0 and len(chosen) == 0:
            raise DataError(
                f"the {name} split rounds to nothing: {fraction:g} of {len(labels)} images in {len(classes)} classes; "
                f"add images, or change --split"
            )
    return indices


def folded(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of every image, from 0: stratified, and each fold as large as the others to within one image.

    Every class is put in an order drawn from the seed, and dealt out; one class goes on where the last one stopped.

    Raises:
        DataError: fewer images than folds.
    """
    if len(labels) < folds:
        raise DataError(f"{len(labels)} images cannot make {folds} folds; choose fewer with --fold")
    found = np.empty(len(labels), np.int64)
    dealt = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[randomness.permutation(randomness.key(seed, "fold", int(label)), len(members))]
        found[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    return found


def thinned(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Sorted indices of the same share of every class, at least one image of each; a smaller share lies in a larger."""
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = randomness.permutation(randomness.key(seed, "fraction", int(label)), len(members))
        kept.append(members[order[: max(1, round(fraction * len(members)))]])
    return np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)


def parse_fold(text: str) -> tuple[int, int]:
    """The text "2/5" as (1, 5): the second of five folds, counted from 0.

    Raises:
        UsageError: not two whole numbers, or out of their range.
    """
    fold, slash, folds = text.partition("/")
    if not (slash and fold.isascii() and fold.isdigit() and folds.isascii() and folds.isdigit()):
        raise UsageError(f"fold (={text}) must be a fold and their number, such as 2/5")
    if not 1 <= int(fold) <= int(folds) or int(folds) < 2:
        raise UsageError(f"fold (={text}) must be from 1/n to n/n, with n of 2 or more")
    return int(fold) - 1, int(folds)


def _shares(sizes: NDArray[np.int64], fraction: float, left: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of each class: whole numbers that sum to the fraction of all, the largest remainders rounded up.

    No class gives more than it has left.
    """
    exact = sizes * fraction
    shares: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    missing = round(float(sizes.sum()) * fraction) - int(shares.sum())
    order = np.argsort(-(exact - shares), kind="stable")
    shares[order[shares[order] < left[order]][:missing]] += 1
    return shares
