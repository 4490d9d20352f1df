"""The index: every file of a data set opened once, and what was found, as columns that never change.

It says of each file its path, size, hash, label, width, height, mode and verdict. Later starts compare sizes and times
of change only (`indexing.py`); nothing is decoded a second time to find out what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fovea.data.reading import printable

SPLITS = ("train", "validation", "test")
# What is odd about an image and yet no fault; bit i of the column `odd` is ODD[i].
ODD = (
    "suffix names another format",
    "several frames, of which the first counts",
    "turned upright by its EXIF orientation",
    "16 bits, of which the upper eight count",
    "CMYK colours",
    "transparent parts, laid over white",
    "a symbolic link",
)
SUFFIX, FRAMES, TURNED, DEEP, CMYK, TRANSPARENT, LINK = (1 << bit for bit in range(len(ODD)))


@dataclass(frozen=True, kw_only=True)
class Index:
    """Every image of a data set, a row each.

    Args:
        name: What people call the set.
        source: What was asked for: a folder, an archive, a table; for arrays, empty.
        root: What the paths are relative to.
        layout: How it lies, as `Listing.layout`.
        declared: The folders of splits that are there, with images or without.
        classes: Class names of the training images; `labels` point into `label_names`, not here.
        label_names: Every label that occurs, sorted: a class that only validation has is one of them.
        paths: As people would find them below root: "train/cat/001.jpg".
        splits: Place in SPLITS; -1 where the set is still to be cut.
        labels: Place in `label_names`; -1 where a file has no label.
        sizes: Bytes of each file.
        stamps: Nanoseconds of each file's last change.
        digests: SHA-256 of each file's bytes, shape (N, 32); zeros where it could not be read.
        widths, heights: Pixels; 0 where it could not be decoded.
        formats: Place in `format_names`.
        format_names: "JPEG", "PNG", …; "" where it could not be decoded, "array" for pixels in memory.
        modes: Place in `mode_names`.
        mode_names: Pillow's names of the stored pixels: "RGB", "L", "CMYK", "I;16", …
        odd: Bits of ODD.
        looks: Perceptual hash, two numbers of 64 bits each, shape (N, 2).
        reasons: Of each row that could not be decoded, in a word or three ("truncated", "empty"), why.
        sentences: Of the same rows, the whole sentence.
        strays: What else lies there, as `Listing.strays`.
        members: Where each file lies in its archive, a `listing.Member` a row, shape (N, 4); (0, 4) for a folder.
        containers: The archives by path, with their sizes and stamps.
    """

    name: str
    source: str
    root: str
    layout: str
    declared: tuple[str, ...]
    classes: tuple[str, ...]
    label_names: tuple[str, ...]
    paths: tuple[str, ...]
    splits: NDArray[np.int8]
    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    stamps: NDArray[np.int64]
    digests: NDArray[np.uint8]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    formats: NDArray[np.uint8]
    format_names: tuple[str, ...]
    modes: NDArray[np.uint8]
    mode_names: tuple[str, ...]
    odd: NDArray[np.uint16]
    looks: NDArray[np.uint64]
    reasons: dict[int, str]
    sentences: dict[int, str]
    strays: dict[str, str]
    members: NDArray[np.int64]
    containers: tuple[tuple[str, int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def digest(self, row: int) -> str:
        """The SHA-256 of a file's bytes, as hexadecimal."""
        return bytes(self.digests[row]).hex()

    def bad(self) -> NDArray[np.int64]:
        """Rows that cannot be decoded or have no label: the only ones that count as bad."""
        unlabelled = set(np.flatnonzero(self.labels < 0).tolist())
        return np.array(sorted(unlabelled | set(self.reasons)), np.int64)

    def place(self, row: int) -> str:
        """The path as a user would type it."""
        return str(Path(self.root) / self.paths[row]) if self.root else self.paths[row]

    def why(self, row: int) -> str:
        """One sentence on a bad row, which names it."""
        if row in self.sentences:
            return self.sentences[row]
        return f"{printable(self.place(row))}: has no label; put it into its class's folder, or remove it"
