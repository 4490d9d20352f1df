"""A folder of images: `root/{train,val,test}/<class>/*`, or `root/<class>/*` to be split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import FileImages
from fovea.errors import DataError, suggestion

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"))

Listing = tuple[FileImages, NDArray[np.int64]]


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits that lie in root, by split; empty where root holds classes directly."""
    found: dict[str, Path] = {}
    for split, names in SPLIT_FOLDERS.items():
        there = [root / name for name in names if (root / name).is_dir()]
        if len(there) > 1:
            raise DataError(f"{root}: holds {' and '.join(p.name for p in there)}, which mean the same; keep one")
        if there:
            found[split] = there[0]
    return found if "train" in found else {}


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the class folders, sorted by code point; hidden folders do not count.

    Raises:
        DataError: the folder cannot be listed, or holds no class folder.
    """
    try:
        names = sorted(e.name for e in os.scandir(folder) if Path(e).is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    if not names:
        raise DataError(f"{folder}: holds no class folders; expected {folder}/<class>/<image>")
    return tuple(names)


def listing(folder: Path, classes: tuple[str, ...]) -> Listing:
    """Every image file below the class folders, each once, in a fixed order, with its label.

    Classes are matched by name. Files are taken by their suffix (any case); hidden files and links to folders are
    passed over.

    Raises:
        DataError: a class folder that is not among the classes, or a folder that cannot be listed.
    """
    labels: list[int] = []
    paths: list[str] = []
    index = {name: label for label, name in enumerate(classes)}
    for name in class_names(folder):
        if name not in index:
            raise DataError(
                f"{folder / name}: is no class of the training set, which has {len(classes)}: "
                f"{', '.join(classes[:10])}{', …' if len(classes) > 10 else ''}.{suggestion(name, classes)}"
            )
        found = sorted(_image_files(folder / name))
        paths += [f"{name}/{path}" for path in found]
        labels += [index[name]] * len(found)
    return FileImages(folder, tuple(paths)), np.asarray(labels, np.int64)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _image_files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield (Path(place) / name).relative_to(folder).as_posix()
