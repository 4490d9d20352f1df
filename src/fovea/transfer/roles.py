"""Who does what when ways are compared: images to fit on, images that choose, and images that judge once."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import Chosen, Data, FileImages, Images, Split
from fovea.data.splits import folded
from fovea.errors import DataError

FOLDS = 5  # one of so many parts of train chooses, where nothing else can


class Roles(NamedTuple):
    """The splits by what they are for.

    Args:
        known: All that may be learned from by what needs no images beside it to choose.
        fit: What networks are trained on; within `known`.
        choose: What their best epoch is chosen by; within `known`, or the validation split.
        judge: What every way is judged on, once, at the end.
    """

    known: Split
    fit: Split
    choose: Split
    judge: Split

    def training(self, data: Data) -> Data:
        """The data as training takes it, whose test split is what judges."""
        judge = dataclasses.replace(self.judge, name="test")
        choose = dataclasses.replace(self.choose, name="validation")
        return dataclasses.replace(data, train=self.fit, validation=choose, test=judge, source=None)


def roles(data: Data, *, seed: int) -> Roles:
    """The roles of a data set's splits.

    Test images judge where there are any, and validation images choose. Where there are none, the validation images
    judge, and a stratified fifth of the training images chooses.

    Args:
        data: With two splits at least.
        seed: Deals the fifth.

    Raises:
        DataError: there is one split alone.
    """
    if data.train is None or (data.validation is None and data.test is None):
        raise DataError(f"{data.name}: has no images beside those to train on, so no way could be judged; use --split")
    if data.validation is not None and data.test is not None:
        return Roles(data.train, data.train, data.validation, data.test)
    part = folded(data.train.labels, FOLDS, seed)
    fit, choose = (_part(data.train, name, chosen) for name, chosen in (("train", part > 0), ("validation", part == 0)))
    judge = data.test if data.validation is None else data.validation
    assert judge is not None
    return Roles(data.train, fit, choose, judge)


def _part(split: Split, name: str, chosen: NDArray[np.bool_]) -> Split:
    indices = np.flatnonzero(chosen)
    images: Images = split.images
    if isinstance(images, FileImages):  # files stay files, which training keeps in memory or in a cache
        return Split(name, FileImages(images.index, images.rows[indices]), split.labels[indices], split.classes)
    return Split(name, Chosen(images, indices), split.labels[indices], split.classes)
