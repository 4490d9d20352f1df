"""The members of a .zip, each where its bytes lie; only what can be read at will: stored or deflated, in the clear."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fovea.data.listing import Member
from fovea.data.reading import printable
from fovea.data.sources.arranging import Entry, is_image
from fovea.errors import DataError

LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of name and extra field
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (zipfile.BadZipFile, OSError, EOFError, ValueError, IndexError, NotImplementedError, struct.error)


def is_zip(beginning: bytes) -> bool:
    """Whether a file is a zip by its first four bytes."""
    return beginning[:4] in (b"PK\3\4", b"PK\5\6")


def walk_zip(path: Path, container: int) -> Iterator[Entry]:
    """Everything in a zip, in the order of its table of contents, by the names that stand there.

    Raises:
        DataError: it is damaged, or a member is encrypted, packed by another method, or a link named like an image.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            _check_count(path, file, len(archive.infolist()))
            for info in archive.infolist():
                yield _entry(path, container, info, file.fileno())
    except DataError:
        raise
    except DAMAGE as error:
        raise DataError(f"{path}: is cut or damaged ({error}); get it again") from error


def _entry(path: Path, container: int, info: zipfile.ZipInfo, descriptor: int) -> Entry:
    if info.is_dir():
        return Entry(info.filename, 0, None, True)
    member, link = f"{path}: its member {printable(info.filename)}", stat.S_ISLNK(info.external_attr >> 16)
    if link and is_image(info.filename):
        raise DataError(f"{member} is a link; pack the files themselves")
    if info.flag_bits & 1:
        raise DataError(f"{member} is encrypted; pack it without")
    if info.compress_type not in METHODS:
        only = "only stored and deflated ones can be read at will"
        raise DataError(f"{member} is packed by method {info.compress_type}; {only}")
    if link:
        return Entry(info.filename, 0, None)
    start, deflated = _data_start(descriptor, info.header_offset, path), info.compress_type == zipfile.ZIP_DEFLATED
    return Entry(info.filename, info.file_size, Member(container, start, info.compress_size, deflated))


def _check_count(path: Path, file: BinaryIO, found: int) -> None:
    """Refuse a table of contents with another number of entries than its end announces: zipfile does not compare them.

    Raises:
        DataError: with both numbers.
    """
    file.seek(-min(path.stat().st_size, 22 + 65_535), os.SEEK_END)
    tail = file.read()
    announced = int.from_bytes(tail[(at := tail.rfind(b"PK\5\6")) + 10 : at + 12], "little")
    if announced not in (0xFFFF, found & 0xFFFF):  # 0xFFFF: the number stands elsewhere
        raise DataError(f"{path}: is damaged: it announces {announced:,} members and lists {found:,}; get it again")


def _data_start(descriptor: int, offset: int, path: Path) -> int:
    """Where a member's bytes begin: behind its local header, whose length only itself tells."""
    header = os.pread(descriptor, LOCAL_HEADER.size, offset)
    signature, name_length, extra_length = LOCAL_HEADER.unpack(header)
    if signature != b"PK\3\4":
        raise DataError(f"{path}: is damaged: no member begins at byte {offset:,}; get it again")
    return offset + LOCAL_HEADER.size + int(name_length) + int(extra_length)
