"""One way in: whatever names or holds a data set becomes `Data`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fovea.data import arrays, known
from fovea.data.cutting import Cut, cut_images
from fovea.data.indexed import data_of
from fovea.data.indexing import Progress, open_index
from fovea.data.names import KNOWN, check_source
from fovea.data.sets import Data
from fovea.data.splits import Fractions, parse_fold, parse_fractions
from fovea.errors import DataError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

ARRAY_SPLIT: Fractions = (0.9, 0.1, 0.0)


def open_data(
    source: str | Path | Data | tuple[Any, Any] | Dataset[Any],
    *,
    split: str | None = None,
    split_seed: int = 42,
    fold: str = "",
    fraction: float = 1.0,
    data_root: str | Path | None = None,
    download: bool = False,
    allow_bad: int = 0,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """A data set from its name, its folder or archive, arrays, or any torch Dataset.

    Files are opened once, the first time, and listed in an index, which later calls check by size and time of change.

    Args:
        source: "digits", "mnist", "fashion_mnist", "cifar10", "cifar100" or "imagenet"; a folder
            root/{train,val,test}/<class>/* or root/<class>/*, or of WebDataset shards; a .tar or .zip of a folder; a
            .csv of path, label and perhaps split; a pair (images, labels) of arrays or tensors, images (N, H, W),
            (N, H, W, C) or, as a torch tensor, (N, C, H, W); or a torch Dataset that gives (image, label) pairs, which
            is read once into memory. `Data` is given back as it is.
        split: Fractions of train, validation and test as "0.8/0.1/0.1", for what is not split already; where only
            the test images stand apart, train and validation share as the first two say.
        split_seed: Cuts the splits; apart from a run's seed, so that runs of different seeds share their test images.
        fold: "2/5" validates on the second of five stratified parts of the training and validation images.
        fraction: The share of every class's training images that is kept, for quick trials.
        data_root: Where the named sets lie; else the environment's FOVEA_DATA, else ~/.cache/fovea/data.
        download: Fetch a named set that is not there.
        allow_bad: How many files that cannot be decoded or have no label are left out before that is refused.
        classes: Class names for arrays and Datasets; the labels as text where None.
        progress: Told, while an index is made, how many files are done, of how many.

    Raises:
        UsageError: no data set is called so, and no folder or file either; an option out of its range.
        DataError: a set that cannot be used, with counts and places.
    """
    if isinstance(source, Data):
        return source
    cut = Cut(parse_fractions(split) if split else None, split_seed, parse_fold(fold) if fold else None, fraction)
    if not isinstance(source, str | Path):
        return _from_arrays(source, cut, classes)
    check_source(source)
    again: dict[str, Any] = {"split": split, "split_seed": split_seed, "fold": fold, "fraction": fraction}
    again["allow_bad"] = allow_bad
    path = Path(source)
    if source in KNOWN:
        root = data_folder(data_root)
        found = known.open_known(str(source), root, cut, download=download)
        again |= {"source": str(source), "data_root": str(root)}
        if isinstance(found, Data):
            return dataclasses.replace(found, source=again)
        path, cut = found, known.accustomed(str(source), cut)  # it lies in files
    again.setdefault("source", str(path.absolute()))
    data = data_of(open_index(path, progress=progress), cut, allow_bad=allow_bad)
    name = str(source) if source in KNOWN else data.name
    return dataclasses.replace(data, name=name, source=again)


def data_folder(asked: str | Path | None) -> Path:
    """Where the sets known by name lie: as asked, else the environment's FOVEA_DATA, else ~/.cache/fovea/data."""
    return Path(asked or os.environ.get("FOVEA_DATA") or Path.home() / ".cache/fovea/data").absolute()


def _from_arrays(source: Any, cut: Cut, classes: Sequence[str] | None) -> Data:
    if isinstance(source, tuple) and len(source) != 2:
        raise DataError(f"a tuple of {len(source)} was given; arrays come as the pair (images, labels)")
    images, labels = source if isinstance(source, tuple) else arrays.read_dataset(source)
    stored, indices = arrays.images_of_arrays(images, labels)
    names = tuple(map(str, range(int(indices.max()) + 1))) if classes is None else tuple(classes)
    if indices.max() >= len(names):
        raise DataError(f"label {indices.max()} is beyond the {len(names)} classes; labels count from 0")
    parts = cut_images(stored, indices, names, cut.otherwise(ARRAY_SPLIT))
    height, width = stored.array.shape[1:3]
    channels = stored.array.shape[3] if stored.array.ndim == 4 else 1
    return Data(
        name="arrays", classes=names, channels=channels, image_size=height if height == width else None, **parts
    )
