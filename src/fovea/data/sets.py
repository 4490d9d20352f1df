"""What a data set is to the rest of the house: named splits of images with labels, and the class names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fovea.data.index import SPLITS, Index
from fovea.data.listing import Member
from fovea.data.pixels import decode
from fovea.data.store import Store
from fovea.errors import DataError, UsageError


@runtime_checkable
class Images(Protocol):
    """Raw images by index, before any preprocessing."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        """One image: (height, width) or (height, width, channels); uint8, or float as given by the user."""
        ...

    def name(self, index: int) -> str:
        """What people call the image: its path, or its place in the set."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 over names and contents, as hexadecimal."""
        ...


@dataclass(frozen=True)
class ArrayImages:
    """Images that lie in memory as one array (N, H, W) or (N, H, W, C)."""

    array: NDArray[np.generic]
    prefix: str

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        image: NDArray[np.generic] = self.array[index]
        return image

    def name(self, index: int) -> str:
        """The set's name and the place in it."""
        return f"{self.prefix}/{index}"

    def fingerprint(self) -> str:
        """SHA-256 over shape, type and values."""
        digest = hashlib.sha256(f"{self.prefix} {self.array.shape} {self.array.dtype}".encode())
        digest.update(np.ascontiguousarray(self.array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class FileImages:
    """Images that lie in files or in an archive, were listed in an index, and come through the pixel door.

    Args:
        index: What was found when the set was listed.
        rows: Which of its rows, in which order.
    """

    index: Index
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return decode(self.content(index), name=self.name(index))

    def content(self, index: int) -> bytes:
        """The file's bytes, not decoded.

        Raises:
            UnreadableImage: it was there when the set was listed and cannot be read now.
        """
        row = int(self.rows[index])
        member = _member(self.index.members[row].tolist()) if len(self.index.members) else None
        return self.store.read(self.index.paths[row], member, int(self.index.sizes[row]))

    @cached_property
    def store(self) -> Store:
        """What reads the files."""
        return Store(self.index.root, tuple(path for path, *_ in self.index.containers))

    def name(self, index: int) -> str:
        """The path as the user would type it."""
        return self.index.place(int(self.rows[index]))

    def fingerprint(self) -> str:
        """SHA-256 over relative paths and the hashes of contents: the same set in another place has the same one."""
        digest = hashlib.sha256()
        for row in self.rows.tolist():
            digest.update(f"{self.index.paths[row]}\0{self.index.digest(row)}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()


def _member(row: list[int]) -> Member:
    container, offset, stored, deflated = row
    return Member(container, offset, stored, bool(deflated))


@dataclass(frozen=True)
class Chosen:
    """Some images of a set, in the order of their indices."""

    images: Images
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return self.images[int(self.indices[index])]

    def name(self, index: int) -> str:
        """The name in the whole set."""
        return self.images.name(int(self.indices[index]))

    def fingerprint(self) -> str:
        """SHA-256 over the whole set's fingerprint and the choice."""
        return hashlib.sha256(self.images.fingerprint().encode() + self.indices.tobytes()).hexdigest()


@dataclass(frozen=True)
class Joined:
    """The images of several sets, one after another."""

    parts: tuple[Images, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        part, place = self._at(index)
        return part[place]

    def name(self, index: int) -> str:
        """The name in its own set."""
        part, place = self._at(index)
        return part.name(place)

    def fingerprint(self) -> str:
        """SHA-256 over those of the parts."""
        return hashlib.sha256("".join(part.fingerprint() for part in self.parts).encode()).hexdigest()

    def _at(self, index: int) -> tuple[Images, int]:
        place = index
        for part in self.parts:
            if place < len(part):
                return part, place
            place -= len(part)
        raise IndexError(f"there is no image {index} among {len(self)}")


@dataclass(frozen=True)
class Split:
    """The images of one purpose, with their labels.

    Args:
        name: "train", "validation" or "test".
        images: The raw images.
        labels: Class indices, shape (N,), int64.
        classes: The class names; `labels` index them.
    """

    name: str
    images: Images
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set: its splits, its class names, and what its images are like.

    Args:
        name: What people call it; for a folder, the folder's own name.
        train, validation, test: The splits; a missing one is None.
        classes: Class names in the order of the labels.
        channels: 1 for grey images, 3 for colour, or what an array has.
        image_size: The side of the images in pixels where all are square and equal, else None.
        padded_below: Images up to this size are padded to the network's size, not enlarged (MNIST in LeNet-5's 32).
        source: The arguments of `open_data` that open it again; None for what only lies in memory.
        index: What was found when files were listed, bad ones included; None for what lies in memory.
    """

    name: str
    classes: tuple[str, ...]
    train: Split | None
    validation: Split | None
    test: Split | None
    channels: int
    image_size: int | None = None
    padded_below: int = 0
    source: dict[str, Any] | None = None
    index: Index | None = None

    def split(self, name: str) -> Split:
        """The split of that name, or "all" of them, one after another.

        Raises:
            UsageError: there is no such split; those there are, are named.
        """
        there: dict[str, Split] = {each: split for each in SPLITS if (split := getattr(self, each)) is not None}
        if name == "all" and there:
            labels = np.concatenate([split.labels for split in there.values()])
            return Split(name, Joined(tuple(split.images for split in there.values())), labels, self.classes)
        if name not in there:
            raise UsageError(f"{self.name} has no split {name!r}; there are {', '.join(there)}, and all")
        return there[name]

    def fingerprint(self) -> str:
        """SHA-256 over classes, labels and every image: equal data sets have equal ones, wherever they lie."""
        digest = hashlib.sha256("\0".join(self.classes).encode(errors="surrogateescape"))
        for name in SPLITS:
            split: Split | None = getattr(self, name)
            if split is not None:
                digest.update(f"{name} {split.images.fingerprint()}".encode())
                digest.update(split.labels.tobytes())
        return digest.hexdigest()


def counts(labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, int]:
    """How many images each class has."""
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def check_classes(name: str, train: Split) -> None:
    """Refuse what cannot be learned from: no image, one class, a class without an image.

    Raises:
        DataError: with the counts.
    """
    if len(train) == 0:
        raise DataError(f"{name}: no image to train on; expected root/<class>/<image> or root/train/<class>/<image>")
    if len(train.classes) < 2:
        raise DataError(f"{name}: there is one class ({train.classes[0]}) only; a classifier needs at least two")
    empty = [c for c, n in counts(train.labels, train.classes).items() if n == 0]
    if empty:
        raise DataError(f"{name}: no training image for {', '.join(empty)}; add images or remove the class")
