"""Which files are training images of which class: the layouts that a folder and an archive of one share.

`root/{train,val,test}/<class>/*`, `root/<class>/*`, or, in place of the class folders, files that bear the synset in
their names as ILSVRC's do. What lies where is asked for folder by folder, so that a disk and a table of contents do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from fovea.data.listing import ListedFile, Listing, Member
from fovea.data.reading import printable
from fovea.errors import DataError

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
SPLIT_NAMES = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"))
SYNSET = re.compile(r"(n[0-9]{8})_")  # how ILSVRC's training images begin: n01440764_10026.JPEG
ORDER = {"train": 0, "validation": 1, "test": 2, "": 3}

Found = tuple[str, int, int, Member | None, bool]  # an image file's name, size, stamp, place in an archive, link or not


class Scanned(NamedTuple):
    """What lies directly in one folder; hidden names are left out.

    Args:
        files: The image files, told by their suffix.
        folders: Names of the folders.
        links: Names of the links to folders.
        strays: What else lies there, by name, and what it is.
    """

    files: list[Found]
    folders: list[str]
    links: list[str]
    strays: dict[str, str]


class Entry(NamedTuple):
    """What an archive holds under one name.

    Args:
        path: The name.
        size: Bytes of a regular file, unpacked.
        member: Where they lie; None for a folder, a link, a device.
        folder: Whether it is a folder.
    """

    path: str
    size: int
    member: Member | None
    folder: bool = False


Scan = Callable[[str], Scanned | str]  # from a folder below the root to what lies there, or to why that is not listed


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its suffix in any case."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def no_image(name: str) -> str:
    """What is said of any other file."""
    suffix = name[name.rfind(".") :] if "." in name else "it has none"
    return f"no image by its suffix ({printable(suffix)})"


def join(folder: str, name: str) -> str:
    """A path below the root, with forward slashes; the root itself is the empty text."""
    return f"{folder}/{name}" if folder else name


def splits_among(names: Iterable[str], place: Path) -> dict[str, str]:
    """The names of the split folders by split, in the order of the splits; empty where none is "train".

    Raises:
        DataError: two names mean the same split.
    """
    there, found = set(names), {}
    for split, known in SPLIT_FOLDERS.items():
        same = [name for name in known if name in there]
        if len(same) > 1:
            raise DataError(f"{place}: holds {' and '.join(same)}, which mean the same; keep one")
        if same:
            found[split] = same[0]
    return found if "train" in found else {}


def arrange(root: Path, scan: Scan, top: str = "") -> Listing:
    """The listing of a folder in one of the layouts above.

    Args:
        root: What `scan` starts from, and what messages name.
        scan: Says what lies in a folder below root.
        top: The folder below root in which the splits or classes lie.

    Raises:
        DataError: the root cannot be listed, two folders mean the same split, or one that ought to hold classes holds
            neither folders nor images.
    """
    gathered = _Gathered(scan)
    there = gathered.open(top)
    if there is None:
        raise DataError(f"{root / top}: {gathered.strays[top]}")
    splits = splits_among((*there.folders, *there.links), root / top)
    parts = gathered.open_splits(top, there, splits) if splits else {"": (top, there)}
    classes = gathered.walk_classes(parts)
    synsets = [gathered.add_loose(*part, split, classes[split]) for split, part in parts.items()]
    for split, (folder, scanned) in parts.items():
        if not (scanned.files or classes[split]):
            raise DataError(f"{root / folder}: holds no class folders; expected {root / folder}/<class>/<image>")
    layout = "ILSVRC file names" if any(synsets) else "split folders" if splits else "class folders"
    named = tuple(sorted(classes.get("train" if splits else "", ())))
    return Listing(
        root=root,
        layout=layout,
        classes=named,
        files=gathered.in_order(),
        splits=tuple(splits),
        strays=gathered.strays,
    )


Parts = dict[str, tuple[str, Scanned]]  # by split: the folder, and what lies in it


@dataclass
class _Gathered:
    """What has been found so far."""

    scan: Scan
    files: dict[tuple[int, str], list[ListedFile]] = field(default_factory=dict)  # by split and class
    strays: dict[str, str] = field(default_factory=dict)

    def open(self, folder: str) -> Scanned | None:
        """What lies in a folder, its strays noted; None where it is not listed, which is noted too."""
        found = self.scan(folder)
        if isinstance(found, str):
            self.strays[folder] = found
            return None
        self.strays |= {join(folder, name): why for name, why in found.strays.items()}
        return found

    def open_splits(self, top: str, there: Scanned, splits: dict[str, str]) -> Parts:
        """The split folders, opened; those that are links last, so that a link never stands for its target."""
        names = set(splits.values())
        beside = {join(top, name) for name in (*there.folders, *there.links) if name not in names}
        self.strays |= dict.fromkeys(sorted(beside), "a folder beside the splits")
        self._add(top, there.files, "", "")
        parts = {}
        for split in sorted(splits, key=lambda split: (splits[split] in there.links, ORDER[split])):
            folder = join(top, splits[split])
            if (found := self.open(folder)) is not None:
                parts[split] = (folder, found)
        return parts

    def walk_classes(self, parts: Parts) -> dict[str, set[str]]:
        """Every class folder of every split, walked; links last. The classes found, by split."""
        classes: dict[str, set[str]] = {split: set() for split in parts}
        for split, (folder, found) in parts.items():
            for name in sorted(found.folders):
                self._walk(join(folder, name), split, name)
                classes[split].add(name)
        for split, (folder, found) in parts.items():
            classes[split] |= {name for name in sorted(found.links) if self._walk(join(folder, name), split, name)}
        return classes

    def add_loose(self, folder: str, found: Scanned, split: str, classes: set[str]) -> bool:
        """Images outside any class folder: of the synset in their names where there are no class folders, else of none.

        Returns:
            Whether their names told synsets, which are added to the classes.
        """
        by_name = {} if classes else {file[0]: match[1] for file in found.files if (match := SYNSET.match(file[0]))}
        for file in found.files:
            self._add(folder, [file], split, by_name.get(file[0], ""))
        classes |= set(by_name.values())
        return bool(by_name)

    def _walk(self, folder: str, split: str, label: str) -> bool:
        """Every image below a class folder; whether it could be opened. Links to folders are not followed."""
        opened, waiting = False, [folder]
        while waiting:
            place = waiting.pop()
            if (found := self.open(place)) is None:
                continue
            opened = opened or place == folder
            self._add(place, found.files, split, label)
            self.strays |= {join(place, name): "a link to a folder, which is not followed" for name in found.links}
            waiting += [join(place, name) for name in found.folders]
        return opened

    def in_order(self) -> tuple[ListedFile, ...]:
        """Files by split, then class, then path, by code point."""
        return tuple(file for _, part in sorted(self.files.items()) for file in sorted(part, key=itemgetter(0)))

    def _add(self, folder: str, found: Iterable[Found], split: str, label: str) -> None:
        prefix = join(folder, "")
        new = tuple.__new__  # a third of the time of ListedFile(...), of which a large set needs a million
        self.files.setdefault((ORDER[split], label), []).extend(
            new(ListedFile, (prefix + name, split, label, size, stamp, member, link))
            for name, size, stamp, member, link in found
        )
