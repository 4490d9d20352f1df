"""A single .tar or .zip of a folder of images: listed once, then read at will; nothing is ever unpacked to disk."""

from __future__ import annotations

import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fovea.data.listing import ListedFile, Listing, Member
from fovea.data.reading import MAX_BYTES, printable
from fovea.data.sources.folder import SPLIT_FOLDERS, SUFFIXES
from fovea.errors import DataError, UnreadableImage

MOST_MEMBERS = 5_000_000
LOCAL_HEADER = struct.Struct("<4s22xHH")  # a zip's: signature, lengths of name and extra field
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
Strays = dict[str, str]


class Found(NamedTuple):
    """A regular file in an archive: its path, its size, and where it lies."""

    path: str
    size: int
    member: Member


def is_archive(path: Path) -> bool:
    """Whether the file is a .tar or a .zip by its content; a compressed tar is none.

    Raises:
        DataError: it cannot be read, or is a compressed tar.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe must not make us wait
            raise DataError(f"{path}: is neither a folder nor a regular file")
        with open(path, "rb") as file:
            beginning = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    for mark, kind in PACKED.items():
        if beginning.startswith(mark):
            raise DataError(
                f"{path}: is compressed ({kind}), so that its files cannot be read at will; unpack it, or make a plain "
                f".tar of it: JPEGs and PNGs do not get smaller"
            )
    return _is_zip(beginning) or beginning[257:262] == b"ustar"


def list_archive(path: Path) -> Listing:
    """Every image file in an archive of a folder, with its split and label; an only outer folder does not count.

    Raises:
        DataError: an archive that is cut or damaged; a member that is named twice, leads outside, is encrypted or
            larger than an image may be; no class folders in it.
    """
    strays: Strays = {}
    found = [member for member in members(path, 0, strays) if not _hidden(member.path)]
    outer = _outer({member.path for member in found})
    images = [_placed(member, outer) for member in found if _suffix(member.path) in SUFFIXES]
    for member in found:
        if _suffix(member.path) not in SUFFIXES:
            strays[member.path] = f"no image by its suffix ({_suffix(member.path) or 'none'})"
    splits = _splits(path, {file.path.removeprefix(outer).partition("/")[0] for file in images})
    listed = sorted((_labelled(file, splits) for file in images), key=_order)
    first = "train" if splits else ""
    classes = sorted({file.label for file in listed if file.split == first and file.label})
    if not classes:
        raise DataError(f"{path}: holds no class folders; expected <class>/<image> or train/<class>/<image> in it")
    return Listing(
        root=path,
        layout="zip" if _zip_file(path) else "tar",
        classes=tuple(classes),
        files=tuple(listed),
        containers=(path,),
        strays=strays,
    )


def members(path: Path, container: int, strays: Strays) -> Iterator[Found]:
    """The regular files of a .tar or .zip, in their order, each checked by name and size.

    Args:
        path: The archive.
        container: Its place in the listing.
        strays: What is no regular file is added here, with the reason.

    Raises:
        DataError: as `list_archive`.
    """
    seen: set[str] = set()
    end = path.stat().st_size
    for found in _zip_members(path, container) if _zip_file(path) else _tar_members(path, container, strays):
        name = printable(found.path)
        if found.size < 0:
            raise DataError(f"{path}: is damaged: its member {name} has {found.size:,} bytes; get it again")
        if found.path.startswith("/") or ".." in found.path.split("/") or "\0" in found.path:
            raise DataError(f"{path}: its member {name} leads outside the archive; nothing was read")
        plain = posixpath.normpath(found.path)
        if plain in seen:
            raise DataError(f"{path}: holds {name} twice; keep one of the two")
        if found.size > MAX_BYTES:
            raise DataError(f"{path}: its member {name} has {found.size:,} bytes, more than {MAX_BYTES:,}")
        if found.member.offset + found.member.stored > end:
            missing = found.member.offset + found.member.stored - end
            raise DataError(f"{path}: is cut: its member {name} lacks {missing:,} bytes; get it again")
        if len(seen) >= MOST_MEMBERS:
            raise DataError(f"{path}: has more than {MOST_MEMBERS:,} members; split it into shards")
        seen.add(plain)
        yield found._replace(path=plain)


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


def _tar_members(path: Path, container: int, strays: Strays) -> Iterator[Found]:
    try:
        with tarfile.open(path, "r:") as archive:
            while (entry := archive.next()) is not None:
                name = entry.name.removeprefix("./")
                if entry.size < 0:
                    raise DataError(f"{path}: is damaged: its member {printable(name)} has {entry.size:,} bytes")
                if entry.isfile() and not entry.issparse():
                    yield Found(name, entry.size, Member(container, entry.offset_data, entry.size))
                elif not entry.isdir():
                    if _suffix(name) in SUFFIXES:
                        kind = "a link" if entry.issym() or entry.islnk() else "no regular file"
                        raise DataError(f"{path}: its member {printable(name)} is {kind}; pack the files themselves")
                    strays[name] = "no regular file"
                archive.members.clear()  # type: ignore[attr-defined]  # or a large archive fills the memory
            _check_end(path, archive.offset)
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError, IndexError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: is cut or damaged ({error}); get it again") from error


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


def _zip_members(path: Path, container: int) -> Iterator[Found]:
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            _check_count(path, file, len(archive.infolist()))
            for entry in archive.infolist():
                if entry.is_dir():
                    continue
                if stat.S_ISLNK(entry.external_attr >> 16) and _suffix(entry.filename) in SUFFIXES:
                    raise DataError(
                        f"{path}: its member {printable(entry.filename)} is a link; pack the files themselves"
                    )
                if entry.flag_bits & 1:
                    raise DataError(f"{path}: its member {printable(entry.filename)} is encrypted; pack it without")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{path}: its member {printable(entry.filename)} is packed by method {entry.compress_type}; "
                        f"only stored and deflated ones can be read at will"
                    )
                start = _data_start(file.fileno(), entry.header_offset, path)
                deflated = entry.compress_type == zipfile.ZIP_DEFLATED
                yield Found(entry.filename, entry.file_size, Member(container, start, entry.compress_size, deflated))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, struct.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: is cut or damaged ({error}); get it again") from error


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


def _zip_file(path: Path) -> bool:
    with open(path, "rb") as file:
        return _is_zip(file.read(4))


def _is_zip(beginning: bytes) -> bool:
    return beginning[:4] in (b"PK\3\4", b"PK\5\6")


def _suffix(path: str) -> str:
    name = path.rpartition("/")[2]
    return name[name.rfind(".") :].lower() if "." in name else ""


def _hidden(path: str) -> bool:
    """Hidden files, and what macOS adds to its archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _outer(paths: set[str]) -> str:
    """The only folder at the top, with its slash, where it is neither a class nor a split; else nothing."""
    tops = {path.partition("/")[0] for path in paths if not _hidden(path)}
    if len(tops) != 1 or any("/" not in path for path in paths if not _hidden(path)):
        return ""
    top = tops.pop()
    inside = {path.split("/")[1] for path in paths if path.count("/") >= 2}
    return f"{top}/" if inside and top not in sum(SPLIT_FOLDERS.values(), ()) else ""


def _placed(found: Found, outer: str) -> ListedFile:
    return ListedFile(found.path, "", outer, found.size, 0, found.member)


def _splits(path: Path, tops: set[str]) -> dict[str, str]:
    """The top folders that are splits, and which; nothing where there is no training split."""
    names = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
    found = {top: names[top] for top in sorted(tops) if top in names}
    same = [top for top in found if list(found.values()).count(found[top]) > 1]
    if same:
        raise DataError(f"{path}: holds {' and '.join(same)}, which mean the same; keep one")
    return found if "train" in found.values() else {}


def _labelled(file: ListedFile, splits: dict[str, str]) -> ListedFile:
    """The split and label that the folders say; what lies elsewhere has no label."""
    parts = file.path.removeprefix(file.label).split("/")
    split = splits.get(parts[0], "") if splits else ""
    inside = parts[1:] if split else parts
    labelled = len(inside) > 1 and (bool(split) or not splits)
    return file._replace(split=split or ("train" if splits else ""), label=inside[0] if labelled else "")


def _order(file: ListedFile) -> tuple[int, str, str]:
    return ("train", "validation", "test", "").index(file.split), file.label, file.path
