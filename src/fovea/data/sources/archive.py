"""A single .tar or .zip of a folder of images: listed once, then read at will; nothing is ever unpacked to disk."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from fovea.data.listing import Listing, Member
from fovea.data.reading import MAX_BYTES, printable
from fovea.data.sources.arranging import SPLIT_NAMES, SYNSET, Entry, Scanned, arrange, is_image, no_image
from fovea.data.sources.tars import is_tar, walk_tar
from fovea.data.sources.zips import is_zip, walk_zip
from fovea.errors import DataError, UnreadableImage

MOST_MEMBERS = 5_000_000
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
LEVELS = 3  # an outer folder, a split, a class: what lies deeper is of that class, in whatever folder
IRREGULAR = "no regular file"


def is_archive(path: Path) -> bool:
    """Whether the file is a .tar or a .zip by its content; a compressed tar is none.

    Raises:
        DataError: it cannot be read, or is a compressed tar.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe must not make us wait
            raise DataError(f"{path}: is neither a folder nor a regular file")
        beginning = _beginning(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    for mark, kind in PACKED.items():
        if beginning.startswith(mark):
            raise DataError(
                f"{path}: is compressed ({kind}), so that its files cannot be read at will; unpack it, or make a plain "
                f".tar of it: JPEGs and PNGs do not get smaller"
            )
    return is_zip(beginning) or is_tar(beginning, path.name)


def list_archive(path: Path) -> Listing:
    """Every image file in an archive, as `list_folder` has it of a folder; an only outer folder does not count.

    Raises:
        DataError: an archive that is cut or damaged; a member that is named twice, leads outside, is encrypted or
            larger than an image may be; no class folders in it; what `arrange` refuses.
    """
    held = _hold(path)
    outer, top = _outer(held), held[""]
    listing = arrange(path, held.__getitem__, outer) if top.files or top.folders else None
    if listing is None or not listing.classes:
        raise DataError(f"{path}: holds no class folders; expected <class>/<image> or train/<class>/<image> in it")
    return dataclasses.replace(
        listing,
        layout="zip" if is_zip(_beginning(path)) else "tar",
        containers=(path,),
        strays=top.strays | listing.strays,
    )


def members(path: Path, container: int) -> Iterator[Entry]:
    """Everything in a .tar or .zip, in its order, each checked by name and size.

    Args:
        path: The archive.
        container: Its place in the listing.

    Raises:
        DataError: as `list_archive`.
    """
    seen: set[str] = set()
    end = path.stat().st_size
    walk = walk_zip if is_zip(_beginning(path)) else walk_tar
    for number, entry in enumerate(walk(path, container)):
        name = printable(entry.path)
        if entry.path.startswith("/") or ".." in entry.path.split("/") or "\0" in entry.path:
            raise DataError(f"{path}: its member {name} leads outside the archive; nothing was read")
        if number >= MOST_MEMBERS:
            raise DataError(f"{path}: has more than {MOST_MEMBERS:,} members; split it into shards")
        plain = posixpath.normpath(entry.path)
        if entry.member is not None:
            if plain in seen:
                raise DataError(f"{path}: holds {name} twice; keep one of the two")
            if entry.size > MAX_BYTES:
                raise DataError(f"{path}: its member {name} has {entry.size:,} bytes, more than {MAX_BYTES:,}")
            missing = entry.member.offset + entry.member.stored - end
            if missing > 0:
                raise DataError(f"{path}: is cut: its member {name} lacks {missing:,} bytes; get it again")
            seen.add(plain)
        yield Entry(plain, entry.size, entry.member, entry.folder)


def read_member(descriptor: int, member: Member, size: int) -> bytes:
    """The bytes of a member, read without moving the file's place, so that threads do not disturb each other.

    Args:
        descriptor: The archive, open for reading.
        member: Where it lies.
        size: Its bytes when unpacked, as listed.

    Raises:
        UnreadableImage: the archive has other bytes there than when it was listed.
    """
    content = os.pread(descriptor, member.stored, member.offset)
    if len(content) < member.stored:
        raise UnreadableImage("is truncated: the archive ends before it does; get the archive again", "truncated")
    return _inflated(content, size) if member.deflated else content


def _inflated(content: bytes, size: int) -> bytes:
    """At most as many bytes as were listed, whatever the content would unpack to."""
    try:
        found = zlib.decompressobj(wbits=-15).decompress(content, size + 1)
    except zlib.error as error:
        raise UnreadableImage(f"is damaged in its archive ({error}); get the archive again", "damaged") from error
    if len(found) != size:
        raise UnreadableImage(f"unpacks to another size than its archive lists ({size:,}); get it again", "damaged")
    return found


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


Held = dict[str, Scanned]  # by folder, the archive itself being ""


def _hold(path: Path) -> Held:
    """What lies in each folder of an archive. Below LEVELS of folders the rest of the path counts as the name."""
    held: Held = {"": Scanned([], [], [], {})}
    for entry in members(path, 0):
        if _hidden(entry.path):
            continue
        *folders, name = entry.path.split("/", LEVELS)
        if entry.folder:
            _reach(held, "/".join([*folders, name][:LEVELS]))
            continue
        scanned = _reach(held, "/".join(folders))
        if entry.member is None:
            scanned.strays[name] = IRREGULAR
        elif is_image(name):
            scanned.files.append((name, entry.size, 0, entry.member, False))
        else:
            scanned.strays[name] = no_image(name.rpartition("/")[2])
    return held


def _reach(held: Held, folder: str) -> Scanned:
    """A folder, which is put into those above where it is new."""
    if folder not in held:
        above, _, name = folder.rpartition("/")
        _reach(held, above).folders.append(name)
        held[folder] = Scanned([], [], [], {})
    return held[folder]


def _hidden(path: str) -> bool:
    """Hidden files, and what macOS adds to its archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _outer(held: Held) -> str:
    """The only folder at the top, where no file lies beside it and it is neither a class nor a split; else nothing."""
    top = held[""]
    if len(top.folders) != 1 or top.files or any(why != IRREGULAR for why in top.strays.values()):
        return ""
    only = top.folders[0]
    inside = held[only].folders or any(SYNSET.match(file[0]) for file in held[only].files)
    return only if inside and only not in SPLIT_NAMES else ""
