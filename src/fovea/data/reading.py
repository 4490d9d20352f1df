"""The bytes of a file that may hold an image: no pipe is waited for, no limit passed, and every refusal says why."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from fovea.errors import UnreadableImage

MAX_BYTES: Final = 400_000_000  # the door's most pixels at four bytes each, uncompressed, and room for metadata


def read_file(path: Path) -> bytes:
    """The bytes of a file that may hold an image.

    Raises:
        UnreadableImage: there is no such regular file, it may not be read, or it is larger than MAX_BYTES.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not make us wait
        try:
            status = os.fstat(descriptor)
            _check_file(status)
            return _read_whole(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except UnreadableImage as refusal:
        raise UnreadableImage(f"{printable(str(path))}: {refusal}", refusal.reason) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason, sentence = _why_not_read(path, error)
        raise UnreadableImage(f"{printable(str(path))}: {sentence}", reason) from error


def _read_whole(descriptor: int, size: int) -> bytes:
    """Up to size bytes; a file that grows meanwhile is cut there."""
    parts, left = [], size
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
        raise UnreadableImage(f"is a {kind}, not a regular file; name an image file", f"a {kind}")
    if status.st_size > MAX_BYTES:
        size = f"has {status.st_size:,} bytes, more than the limit of {MAX_BYTES:,}"
        raise UnreadableImage(f"{size}; save it compressed, or remove it", "too large")


def _why_not_read(path: Path, error: OSError | ValueError) -> tuple[str, str]:
    """The reason in short, and the sentence."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT and path.is_symlink():
        return "a dangling link", "is a link to a file that does not exist; restore that file, or remove the link"
    if number == errno.ENOENT:
        return "missing", "does not exist; check the path"
    if number == errno.ELOOP:
        return "a link to itself", "is a link that leads back to itself; remove it"
    if number in (errno.EACCES, errno.EPERM):
        return "no permission", "may not be read (no permission); allow it with chmod, or run as the file's owner"
    if number == errno.ENXIO:
        return "a socket", "is a socket, not a regular file; name an image file"
    said = error.strerror if isinstance(error, OSError) else error
    return "unreadable", f"cannot be read ({said}); check the path and the disk"


def printable(text: str) -> str:
    """Names with line breaks or bytes that are no UTF-8, on one line that any terminal prints."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
