"""What a source finds before any image is opened: files with their splits and labels, and what else lies there.

A listing reads names and sizes only, so that it is quick enough to be made on every start; the index adds what takes
opening each file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """Where a file's bytes lie inside an archive.

    Args:
        container: Which archive, by its place in `Listing.containers`.
        offset: Where the stored bytes begin.
        stored: How many bytes are stored.
        deflated: Whether they are to be inflated (zip's method 8).
    """

    container: int
    offset: int
    stored: int
    deflated: bool = False


class ListedFile(NamedTuple):
    """One image file of a data set, by its name alone.

    Args:
        path: Relative to the listing's root, with forward slashes; bytes that are no UTF-8 as surrogates.
        split: "train", "validation", "test", or "" where the set is still to be cut.
        label: The class's name; "" where the file has none.
        size: Bytes of the file.
        stamp: Time of its last change in nanoseconds; 0 inside an archive, whose own stamp counts.
        member: Where its bytes lie in an archive; None for a file of its own.
        link: Whether it is a symbolic link.
    """

    path: str
    split: str
    label: str
    size: int
    stamp: int
    member: Member | None = None
    link: bool = False


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A data set before it is opened.

    Args:
        root: The folder, or the archive itself.
        layout: What people call the way it lies: "class folders", "split folders", "CSV", "tar", "zip", "WebDataset".
        classes: The class names of the training images (of all where there are no splits), in the order of their
            labels: by code point where nothing else is said.
        files: Every image file, each once, in a fixed order: by split, class, path.
        containers: The archives in which the files lie, by path; none for a folder.
        splits: The folders of splits that are there, with images or without; none where the set is still to be cut.
        strays: What else lies there and is no part of the set, by relative path, and what it is: "no image by its
            suffix", "a link to a folder, which is not followed", …
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    files: tuple[ListedFile, ...]
    containers: tuple[Path, ...] = ()
    splits: tuple[str, ...] = ()
    strays: dict[str, str] = field(default_factory=dict)
