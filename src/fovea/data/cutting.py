"""Who trains, who validates, who tests: one array says it of every image, whatever the set came from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.data.index import SPLITS
from fovea.data.sets import Chosen, Images, Split, check_classes
from fovea.data.splits import Fractions, folded, stratified, thinned

LEFT_OUT = -1
TRAIN, VALIDATION, TEST = range(3)  # places in SPLITS


class Cut(NamedTuple):
    """How a set is cut.

    Args:
        fractions: Of train, validation and test; None for what the set's custom is.
        seed: What the choice depends on.
        fold: Which part validates, counted from 0, and of how many; None for no cross-validation.
        fraction: The share of the training images that is kept.
    """

    fractions: Fractions | None
    seed: int
    fold: tuple[int, int] | None = None
    fraction: float = 1.0

    def otherwise(self, fractions: Fractions) -> Cut:
        """The same, with a set's custom where no fractions are asked for."""
        return self if self.fractions else self._replace(fractions=fractions)


def assigned(labels: NDArray[np.int64], places: NDArray[np.int8], cut: Cut) -> NDArray[np.int8]:
    """The split of every image as its place in SPLITS; LEFT_OUT for what a fraction leaves out.

    What lies in splits already stays there; where validation images are missing they are cut from the training
    images, where nothing is split everything is cut. A fold cuts train and validation together anew; test is never
    touched by it.

    Args:
        labels: The class of every image.
        places: The split each lies in, LEFT_OUT where the set is not split.
        cut: How to cut.

    Raises:
        DataError: a split that rounds to nothing, or fewer images than folds.
    """
    assert cut.fractions is not None
    found = places.copy()
    whole = not (places >= 0).any()
    if whole:
        _place(found, np.arange(len(labels)), stratified(labels, cut.fractions, cut.seed))
    elif not (places == VALIDATION).any() and cut.fold is None:
        train = np.flatnonzero(places == TRAIN)
        _place(found, train, stratified(labels[train], _without_test(cut.fractions), cut.seed))
    if cut.fold is not None:
        pool = np.flatnonzero((found == TRAIN) | (found == VALIDATION))
        folds = folded(labels[pool], cut.fold[1], cut.seed)
        found[pool] = np.where(folds == cut.fold[0], VALIDATION, TRAIN)
    if cut.fraction < 1:
        train = np.flatnonzero(found == TRAIN)
        found[train] = LEFT_OUT
        found[train[thinned(labels[train], cut.fraction, cut.seed)]] = TRAIN
    return found


def cut_images(
    images: Images, labels: NDArray[np.int64], classes: tuple[str, ...], cut: Cut, *, in_train: bool = False
) -> dict[str, Any]:
    """The splits of one set of images; a split without images is None.

    Args:
        images: All of them.
        labels: Their classes.
        classes: The classes' names.
        cut: How to cut it.
        in_train: Whether all of them are training images, test images standing apart.

    Raises:
        DataError: what cannot be learned from, or cut so.
    """
    check_classes(getattr(images, "prefix", "data"), Split("train", images, labels, classes))
    found = assigned(labels, np.full(len(labels), TRAIN if in_train else LEFT_OUT, np.int8), cut)
    rows = {split: np.flatnonzero(found == place) for place, split in enumerate(SPLITS)}
    train = rows["train"]
    check_classes("the training split", Split("train", Chosen(images, train), labels[train], classes))
    return {
        split: Split(split, Chosen(images, chosen), labels[chosen], classes) if len(chosen) else None
        for split, chosen in rows.items()
    }


def _place(found: NDArray[np.int8], among: NDArray[np.int64], parts: list[NDArray[np.int64]]) -> None:
    for place, part in enumerate(parts):
        found[among[part]] = place


def _without_test(fractions: Fractions) -> Fractions:
    whole = fractions[0] + fractions[1]
    return fractions[0] / whole, fractions[1] / whole, 0.0
