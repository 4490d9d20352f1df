"""Examining a data set before anything is trained on it: `fovea.check`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.data import known
from fovea.data.colour import in_colour
from fovea.data.cutting import LEFT_OUT, Cut
from fovea.data.doctor.report import Report, examine
from fovea.data.index import SPLITS, Index
from fovea.data.indexed import assign
from fovea.data.indexing import Progress, index_of, open_index
from fovea.data.names import KNOWN, check_source
from fovea.data.opening import data_folder, open_data
from fovea.data.options import DataOptions
from fovea.data.sets import Data, FileImages
from fovea.data.sources.imagenet import synset_words
from fovea.data.splits import parse_fold, parse_fractions
from fovea.errors import DataError


def check(source: Any, options: DataOptions | None = None, *, progress: Progress | None = None) -> Report:
    """Examine a data set: unreadable and odd files, classes, sizes, duplicates within and across splits, strays.

    Nothing is refused here that can be listed at all: what training would refuse stands in the report.

    Args:
        source: What `open_data` takes.
        options: How it is found and cut; `DataOptions()` where None.
        progress: Told, while files are opened, how many are done, of how many.

    Raises:
        UsageError: no data set is called so, and no folder or file either.
        DataError: nothing there that could be listed.
    """
    options = options or DataOptions()
    found = _found(source, options)
    if isinstance(found, Data):
        return _of_arrays(found)
    index = open_index(found, progress=progress)
    images = FileImages(index, np.arange(len(index)))
    places, refusal = _places(index, known.accustomed(str(source), _cut(options)))
    report = examine(index, places, pixels=lambda row: np.asarray(images[row], np.uint8), refusal=refusal)
    return dataclasses.replace(report, words=synset_words(Path(index.root)))


def _found(source: Any, options: DataOptions) -> Data | Path:
    """A data set that lies in arrays, cut; or where it lies in files."""
    if not isinstance(source, str | Path):
        return open_data(
            source, split=options.split, split_seed=options.split_seed, fold=options.fold, fraction=options.fraction
        )
    check_source(source)
    if source not in KNOWN:
        return Path(source)
    return known.open_known(str(source), data_folder(options.data_root), _cut(options), download=options.download)


def _cut(options: DataOptions) -> Cut:
    fold = parse_fold(options.fold) if options.fold else None
    return Cut(parse_fractions(options.split) if options.split else None, options.split_seed, fold, options.fraction)


def _places(index: Index, cut: Cut) -> tuple[NDArray[np.int8], str]:
    """Who trains, validates and tests; where that cannot be cut, where the files lie, and why it cannot."""
    try:
        return assign(index, cut), ""
    except DataError as error:
        places = index.splits.copy()
        places[index.bad()] = LEFT_OUT
        return places, str(error)


def _of_arrays(data: Data) -> Report:
    index = index_of(data)
    splits = [split for name in SPLITS if (split := getattr(data, name)) is not None]
    where = [(split, place) for split in splits for place in range(len(split))]

    def pixels(row: int) -> NDArray[np.uint8]:
        split, place = where[row]
        return in_colour(split.images[place])

    return examine(index, index.splits, pixels=pixels)
