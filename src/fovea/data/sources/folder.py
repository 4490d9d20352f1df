"""A folder of images: `root/{train,val,test}/<class>/*`, or `root/<class>/*` to be split."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fovea.data.listing import Listing
from fovea.data.reading import printable
from fovea.data.sources.arranging import SPLIT_FOLDERS as SPLIT_FOLDERS
from fovea.data.sources.arranging import SUFFIXES as SUFFIXES
from fovea.data.sources.arranging import Found, Scanned, arrange, is_image, no_image
from fovea.errors import DataError


def list_folder(root: Path, top: str = "") -> Listing:
    """Every image file below a folder, each once, in a fixed order, by its name alone: nothing is opened.

    Hidden files and folders are passed over. Links to files are followed, and so are those to class folders and split
    folders, unless they lead back or to what is listed already; no other link to a folder is.

    Args:
        root: The folder.
        top: The folder below root in which the splits or classes lie.

    Raises:
        DataError: root cannot be listed, two folders mean the same split, or one that ought to hold classes holds
            neither folders nor images.
    """
    return arrange(root, _Disk(os.fspath(root)), top)


Identity = tuple[int, int]  # device and inode


@dataclass
class _Disk:
    """Lists folders below root, each once, by whatever path it is reached.

    Args:
        root: The root's path.
        above: The folder asked for first, and all above it.
        walked: The folders listed so far.
    """

    root: str
    above: set[Identity] = field(default_factory=set)
    walked: set[Identity] = field(default_factory=set)

    def __call__(self, folder: str) -> Scanned | str:
        """What lies in a folder, or why it is not listed."""
        path = f"{self.root}/{folder}" if folder else self.root
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return self._refusal(path, os.fstat(descriptor)) or _scan(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return f"cannot be listed ({error.strerror})"

    def _refusal(self, path: str, status: os.stat_result) -> str:
        """Why a folder is not listed; nothing where it is met for the first time."""
        identity = (status.st_dev, status.st_ino)
        if not self.above:
            self.above = {identity, *_identities_above(path)}
        elif identity in self.above or identity in self.walked:
            kind = f"a link to {printable(os.readlink(path))}" if os.path.islink(path) else "a folder"  # noqa: PTH114, PTH115
            return f"{kind}, which {'leads back' if identity in self.above else 'is listed already'}"
        self.walked.add(identity)
        return ""


def _identities_above(path: str) -> Iterator[Identity]:
    for folder in Path(path).resolve().parents:
        with contextlib.suppress(OSError):
            status = folder.stat()
            yield status.st_dev, status.st_ino


def _scan(descriptor: int) -> Scanned:
    """What lies in an open folder. Only the kind of each name is asked for, and of images size and time of change."""
    scanned = Scanned([], [], [], {})
    add = scanned.files.append
    with os.scandir(descriptor) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            link = entry.is_symlink()
            if not link and entry.is_dir():
                scanned.folders.append(name)
            elif link and _leads_to_folder(entry):
                scanned.links.append(name)
            elif name[name.rfind(".") :] in SUFFIXES or is_image(name):  # the quick way first, for this is called a lot
                add(_found(entry, name, link))
            else:
                scanned.strays[name] = no_image(name)
    return scanned


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False


def _found(entry: os.DirEntry[str], name: str, link: bool) -> Found:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere: opening it will say so
        return name, 0, 0, None, link
    return name, status.st_size, status.st_mtime_ns, None, link


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
