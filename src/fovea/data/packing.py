"""A packed cache: a set's images decoded, their shorter side brought down once, in one memory-mapped file.

Later epochs and later runs decode nothing. The file is named by what it holds (the set's fingerprint and the side), is
written whole or not at all, and every image's checksum is verified the first time it is read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fovea.data.ahead import ahead
from fovea.data.preprocessing import resized
from fovea.data.sets import FileImages
from fovea.errors import DataError, MachineError
from fovea.files import cache_folder, durable_file

MAGIC: Final = b"fovea-packed-1\n\0"
FOOTER: Final = struct.Struct("<QQ16s")  # where the table begins, its length, the magic again
TABLE: Final = np.dtype([("offset", "<i8"), ("height", "<i4"), ("width", "<i4"), ("crc", "<u4")])

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PackedImages:
    """Images of a packed cache; the same names and fingerprint as those they were made from."""

    original: FileImages
    path: Path
    table: NDArray[Any]
    pixels: NDArray[np.uint8]
    _seen: NDArray[np.bool_] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        offset, height, width, crc = self.table[index].tolist()
        stored = self.pixels[offset : offset + height * width * 3]
        if not self._seen[index]:
            if zlib.crc32(stored.data) != crc:
                raise DataError(
                    f"{self.path}: the pixels of {self.name(index)} are damaged; remove the file, and go on"
                )
            self._seen[index] = True
        return stored.reshape(height, width, 3)

    def name(self, index: int) -> str:
        """The path of the file it was made from."""
        return self.original.name(index)

    def fingerprint(self) -> str:
        """That of the files they were made from."""
        return self.original.fingerprint()


def packed(images: FileImages, side: int, *, workers: int = 0, progress: Progress | None = None) -> PackedImages:
    """The images with their shorter side brought down to `side` pixels (none is enlarged), from the cache or into it.

    Args:
        images: The files.
        side: Pixels of the shorter side.
        workers: Threads that decode.
        progress: Told how many images are done, of how many.

    Raises:
        UnreadableImage: a file that cannot be read.
        MachineError: the disk is full or read-only.
    """
    path = cache_folder() / "packed" / f"{images.fingerprint()[:32]}-{side}.pixels"
    found = _opened(images, path)
    if found is None:
        _write(images, side, path, workers=workers, progress=progress)
        found = _opened(images, path)
    if found is None:
        raise MachineError(f"{path}: what was written cannot be read back; check the disk")
    return found


def _opened(images: FileImages, path: Path) -> PackedImages | None:
    """The cache, where there is one and it is whole."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(size - FOOTER.size)
            start, length, magic = FOOTER.unpack(file.read(FOOTER.size))
            if magic != MAGIC or start + length + FOOTER.size != size or length != len(images) * TABLE.itemsize:
                return None
            file.seek(start)
            table = np.frombuffer(file.read(length), TABLE)
        pixels = np.memmap(path, np.uint8, "c", shape=(start,)) if start else np.empty(0, np.uint8)
    except (OSError, struct.error, ValueError):
        return None
    return PackedImages(images, path, table, pixels, np.zeros(len(images), bool))


def _write(images: FileImages, side: int, path: Path, *, workers: int, progress: Progress | None) -> None:
    table = np.zeros(len(images), TABLE)
    offset = 0
    with durable_file(path, needed=_bytes(images, side)) as file:
        made = ahead(lambda index: _shrunk(images[index], side), range(len(images)), workers)
        for index, pixels in enumerate(made):
            content = np.ascontiguousarray(pixels)
            table[index] = (offset, *content.shape[:2], zlib.crc32(content.data))
            file.write(content.data)
            offset += content.nbytes
            if progress is not None:
                progress(index + 1, len(images))
        file.write(table.tobytes())
        file.write(FOOTER.pack(offset, table.nbytes, MAGIC))


def _bytes(images: FileImages, side: int) -> int:
    """How many bytes are coming, by the sizes in the index."""
    heights, widths = (column[images.rows].astype(np.float64) for column in (images.index.heights, images.index.widths))
    factor = np.minimum(1, side / np.maximum(np.minimum(heights, widths), 1))
    return int((np.ceil(heights * factor) * np.ceil(widths * factor)).sum() * 3) + len(images) * TABLE.itemsize


def _shrunk(image: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    return resized(image, side) if min(image.shape[:2]) > side else image
