"""The members of a .tar, one after the other, each where its bytes lie; a damaged one ends in an error, not early."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from fovea.data.listing import Member
from fovea.data.reading import printable
from fovea.data.sources.arranging import Entry, is_image
from fovea.errors import DataError


def is_tar(header: bytes, name: str) -> bool:
    """Whether a file is a tar by its first 512 bytes; one of before 1988, which bears no mark, by its name as well."""
    return header[257:262] == b"ustar" or (name.lower().endswith(".tar") and _checksum_holds(header))


def _checksum_holds(header: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def walk_tar(path: Path, container: int) -> Iterator[Entry]:
    """Everything in a tar, in its order, by the names that stand there.

    Raises:
        DataError: it is cut or damaged, or a link or a device in it is named like an image.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            while (info := archive.next()) is not None:
                yield _entry(path, container, info)
                archive.members.clear()  # type: ignore[attr-defined]  # or a large archive fills the memory
            _check_end(path, archive.offset)
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: is cut or damaged ({error}); get it again") from error


def _entry(path: Path, container: int, info: tarfile.TarInfo) -> Entry:
    name = info.name.removeprefix("./")
    if info.size < 0:  # or the walk would go in circles
        raise DataError(f"{path}: is damaged: its member {printable(name)} has {info.size:,} bytes; get it again")
    if info.isfile() and not info.issparse():
        return Entry(name, info.size, Member(container, info.offset_data, info.size))
    if not info.isdir() and is_image(name):
        kind = "a link" if info.issym() or info.islnk() else "no regular file"
        raise DataError(f"{path}: its member {printable(name)} is {kind}; pack the files themselves")
    return Entry(name, 0, None, info.isdir())


def _check_end(path: Path, offset: int) -> None:
    """Refuse a tar whose walk stopped elsewhere than at its end mark: tarfile takes any damage for the end.

    Raises:
        DataError: no block of zeros there, or something else than zeros behind it.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        mark = file.read(tarfile.BLOCKSIZE)
        if len(mark) < tarfile.BLOCKSIZE or mark.strip(b"\0"):
            raise DataError(
                f"{path}: is cut or damaged at byte {offset:,}, where its end mark is missing; get it again"
            )
        while rest := file.read(1 << 20):
            if rest.strip(b"\0"):
                raise DataError(
                    f"{path}: more follows after its end mark at byte {offset:,}; join archives with tar -A"
                )
