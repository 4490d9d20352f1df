"""The pixel door: the one way from the bytes of a file to an RGB array, taken by every command.

The format is told by content, never by name, and only six are taken; each is decoded by its own class of Pillow, so no
other plugin, and no interpreter behind one, is ever started. Limits hold before the work: bytes before reading,
pixels before decoding. Whatever is wrong leaves here as one `UnreadableImage`. Colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fovea.errors import UnreadableImage

MAX_PIXELS: Final = 80_000_000
MAX_SIDE: Final = 65_500  # libjpeg's
MAX_BYTES: Final = 400_000_000  # MAX_PIXELS of four bytes each, uncompressed, and room for metadata
MAX_SCANS: Final = 100  # of a progressive JPEG; each costs a pass over all pixels, and few files have more than ten
MAX_COMPRESSED_CHUNKS: Final = 20  # of a PNG; each may unpack to one mebibyte (Pillow's limit)
MAX_RUN_LENGTH_PIXELS: Final = 4_000_000  # of a BMP with run lengths, which Pillow unpacks in slow Python

OPENERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "WEBP": WebPImageFile,
    "TIFF": TiffImageFile,
}
BEGINNINGS: Final = re.compile(
    rb"(?s)(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<GIF>GIF8[79]a)|(?P<BMP>BM)"
    rb"|(?P<WEBP>RIFF.{4}WEBP)|(?P<TIFF>II[*+]\0|MM\0[*+])"
)
# Whether the bytes end before the format's last mark, or before what the header announces; _check_png looks itself.
ENDS_EARLY: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": lambda content: not content.rstrip(b"\0").endswith(b"\xff\xd9"),
    "GIF": lambda content: not content.rstrip(b"\0").endswith(b";"),
    "BMP": lambda content: len(content) < int.from_bytes(content[2:6], "little"),
    "WEBP": lambda content: len(content) < 8 + int.from_bytes(content[4:8], "little"),
    "TIFF": lambda content: len(content) <= int.from_bytes(content[4:8], "little" if content[:1] == b"I" else "big"),
}
UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
REPAIR: Final = "restore it from its source, or remove it"
CONVERT: Final = "convert it to JPEG or PNG, or remove it"


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture in a file, as `decode` gives it.

    Raises:
        UnreadableImage: there is no such regular file, it may not be read, it is larger than MAX_BYTES, or `decode`
            refuses what it holds.
    """
    try:
        status = path.stat()
        _check_file(status)
        with open(path, "rb") as file:
            content = file.read(status.st_size)
    except UnreadableImage as refusal:
        raise UnreadableImage(f"{_printable(str(path))}: {refusal}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UnreadableImage(f"{_printable(str(path))}: {_why_not_read(path, error)}") from error
    return decode(content, name=str(path))


def decode(content: bytes, *, name: str) -> NDArray[np.uint8]:
    """The picture in the bytes of a JPEG, PNG, GIF, BMP, WEBP or TIFF: (height, width, 3), RGB, upright, writable.

    Of several frames the first. EXIF orientation is applied; corrupt EXIF is passed over. Grey becomes three equal
    channels; transparent pixels lie over white; of 16 bits the upper eight are kept (grey, as Pillow does for RGB);
    32-bit integers are read as 16-bit values. CMYK, YCbCr, LAB and palettes are converted as Pillow does.

    Args:
        content: The whole file.
        name: What the error calls the bytes, usually the path.

    Raises:
        UnreadableImage: another format; damaged or truncated, even where no pixel is lost; a limit above exceeded;
            floating-point pixels, or integers outside 0 to 65,535. Nothing else is ever raised.
    """
    try:
        with _without_warnings_of_pillow():
            return _pixels(content)
    except UnreadableImage as refusal:
        raise UnreadableImage(f"{_printable(name)}: {refusal}") from refusal.__cause__


def _pixels(content: bytes) -> NDArray[np.uint8]:
    kind = _format(content)
    try:
        if kind == "PNG":
            _check_png(content)
        image = OPENERS[kind](io.BytesIO(content))
        _check_size(image)
        if kind == "JPEG" and image.info.get("progressive"):
            _check_scans(content)
        image.load()
        rotation = _rotation(image)
        image_rgb = _to_rgb(image)
        return np.array(image_rgb if rotation is None else image_rgb.transpose(rotation))
    except UnreadableImage:
        raise
    except Exception as error:  # decoders answer bad bytes with whatever type they happen to meet
        raise UnreadableImage(_why_not_decoded(kind, content, error)) from error


def _format(content: bytes) -> str:
    """The format that the first bytes tell."""
    if not content:
        raise UnreadableImage(f"is empty (0 bytes); {REPAIR}")
    found = BEGINNINGS.match(content)
    if found is None or found.lastgroup is None:
        taken = ", ".join(OPENERS)
        raise UnreadableImage(f"is none of {taken}: it begins with {bytes(content[:8])!r}; {CONVERT}")
    return found.lastgroup


def _check_png(content: bytes) -> None:
    """Walk the chunks to the end: Pillow misses a cut behind the last row, and wrong checksums of pixels."""
    view, place, compressed = memoryview(content), 8, 0
    kind = b""
    while kind != b"IEND":
        if place + 12 > len(content):
            raise UnreadableImage(f"is truncated: the PNG ends before its end chunk (IEND); {REPAIR}")
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            missing = end - len(content)
            raise UnreadableImage(f"is truncated: its PNG chunk {_chunk(kind)} lacks {missing:,} bytes; {REPAIR}")
        critical = not kind[0] & 32
        if critical and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise UnreadableImage(f"is damaged: the checksum of its PNG chunk {_chunk(kind)} is wrong; {REPAIR}")
        compressed += kind in (b"zTXt", b"iTXt", b"iCCP")
        place = end
    if compressed > MAX_COMPRESSED_CHUNKS:
        limit = f"more than the limit of {MAX_COMPRESSED_CHUNKS}; save it again without metadata"
        raise UnreadableImage(f"has {compressed:,} compressed text chunks, {limit}")


def _check_size(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    what = f"has {width:,} x {height:,} = {width * height:,} pixels"
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage(f"{what}, a side longer than the limit of {MAX_SIDE:,}; scale it down, or remove it")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{what}, more than the limit of {MAX_PIXELS:,}; scale it down, or remove it")
    if any(tile[0] == "bmp_rle" for tile in image.tile) and width * height > MAX_RUN_LENGTH_PIXELS:
        limit = f"more than the limit of {MAX_RUN_LENGTH_PIXELS:,} for a BMP with run lengths"
        raise UnreadableImage(f"{what}, {limit}; save it as PNG")


def _check_scans(content: bytes) -> None:
    scans = content.count(b"\xff\xda")  # a scan's mark: inside compressed data, zero follows every 0xff
    if scans > MAX_SCANS:
        raise UnreadableImage(f"has {scans:,} progressive scans, more than the limit of {MAX_SCANS}; save it again")


def _rotation(image: Image.Image) -> Image.Transpose | None:
    """What makes a decoded image upright; Pillow itself turns TIFF and drops the tag."""
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # corrupt EXIF comes in as many types as bytes, and says nothing about the pixels
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("has floating-point pixels, of which no range is known; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _upper_eight_bits(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(picture, mask=picture)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _upper_eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if low < 0 or high > 65_535:
        raise UnreadableImage(f"has grey values from {low:,} to {high:,}, not 0 to 65,535; save it with 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


@contextlib.contextmanager
def _without_warnings_of_pillow() -> Iterator[None]:
    """Ignore warnings raised in Pillow's modules, in any number of threads at once.

    `warnings.catch_warnings` swaps the process's list of filters, which two threads restore in the wrong order. Here
    each thread puts one equal entry in front and takes one away: single list operations, so none is lost, none left.
    """
    filters = cast("list[Any]", warnings.filters)
    filters.insert(0, IGNORE_PILLOW)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # another thread's catch_warnings has put an older list back
            filters.remove(IGNORE_PILLOW)


IGNORE_PILLOW: Final = ("ignore", None, Warning, re.compile(r"PIL\.(?#of fovea.data.pixels)"), 0)


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
        raise UnreadableImage(f"is a {kind}, not a regular file; name an image file")
    if status.st_size > MAX_BYTES:
        size = f"has {status.st_size:,} bytes, more than the limit of {MAX_BYTES:,}"
        raise UnreadableImage(f"{size}; save it compressed, or remove it")


def _why_not_read(path: Path, error: OSError | ValueError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT and path.is_symlink():
        return "is a link to a file that does not exist; restore that file, or remove the link"
    if number == errno.ENOENT:
        return "does not exist; check the path"
    if number == errno.ELOOP:
        return "is a link that leads back to itself; remove it"
    if number in (errno.EACCES, errno.EPERM):
        return "may not be read (no permission); allow it with chmod, or run as the file's owner"
    return f"cannot be read ({error.strerror if isinstance(error, OSError) else error}); check the path and the disk"


def _why_not_decoded(kind: str, content: bytes, error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"does not fit in memory as a {kind}; scale it down, or free memory"
    reason = str(error) or type(error).__name__
    if reason == "not identified by this driver":
        reason = "its header has a width or height of zero, or no known kind of pixels"
    if "truncated" in reason.lower() or (kind in ENDS_EARLY and ENDS_EARLY[kind](content)):
        return f"is truncated: the {kind} ends before its picture does ({reason}); {REPAIR}"
    return f"is damaged: it cannot be decoded as {kind} ({reason}); {REPAIR}"


def _printable(text: str) -> str:
    """Names with line breaks or bytes that are no UTF-8, on one line that any terminal prints."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _chunk(kind: bytes) -> str:
    return _printable(kind.decode("latin-1"))
