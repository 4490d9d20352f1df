"""The pixel door: the one way from the bytes of a file to an RGB array, taken by every command.

The format is told by content, never by name, and only six are taken; each is decoded by its own class of Pillow, so no
other plugin, and no interpreter behind one, is ever started. Limits hold before the work: bytes before reading,
pixels before decoding. Whatever is wrong leaves here as one `UnreadableImage`. Colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fovea.data.reading import printable, read_file
from fovea.errors import UnreadableImage

MAX_PIXELS: Final = 80_000_000
MAX_SIDE: Final = 65_500  # libjpeg's
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
SCALE: Final = "scale it down, or remove it"
DEPTH: Final = "save it with 8 or 16 bits"


class Picture(NamedTuple):
    """What came through the door.

    Args:
        pixels: (height, width, 3), RGB, upright, writable.
        format: What the content is: JPEG, PNG, GIF, BMP, WEBP or TIFF.
        mode: Pillow's name of the stored pixels: RGB, L, P, CMYK, I;16, …
        odd: What is unusual and yet taken: any of FRAMES, TURNED, DEEP, TRANSPARENT.
    """

    pixels: NDArray[np.uint8]
    format: str
    mode: str
    odd: tuple[str, ...]


FRAMES: Final = "several frames"
TURNED: Final = "turned by EXIF"
DEEP: Final = "16 bits"
TRANSPARENT: Final = "transparent"
NO_MEMORY: Final = "out of memory"  # the one reason that lies in the machine, not in the file


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture in a file, as `decode` gives it.

    Raises:
        UnreadableImage: there is no such regular file, it may not be read, it is larger than MAX_BYTES, or `decode`
            refuses what it holds.
    """
    return decode(read_file(path), name=str(path))


def decode(content: bytes, *, name: str) -> NDArray[np.uint8]:
    """The picture in the bytes of a JPEG, PNG, GIF, BMP, WEBP or TIFF: (height, width, 3), RGB, upright, writable.

    Raises:
        UnreadableImage: as `examine`.
    """
    return examine(content, name=name).pixels


def examine(content: bytes, *, name: str) -> Picture:
    """The picture in some bytes, and what it was: its pixels are what every command sees.

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
            return _picture(content)
    except UnreadableImage as refusal:
        raise UnreadableImage(f"{printable(name)}: {refusal}", refusal.reason) from refusal.__cause__


def _picture(content: bytes) -> Picture:
    kind = _format(content)
    try:
        if kind == "PNG":
            _check_png(content)
        image = OPENERS[kind](io.BytesIO(content))
        _check_size(image)
        if kind == "JPEG" and image.info.get("progressive"):
            _check_scans(content)
        mode, odd = image.mode, _oddities(image)
        image.load()
        rotation = _rotation(image)
        image_rgb = _to_rgb(image)
        return Picture(np.array(image_rgb if rotation is None else image_rgb.transpose(rotation)), kind, mode, odd)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders answer bad bytes with whatever type they happen to meet
        reason, sentence = _why_not_decoded(kind, content, error)
        raise UnreadableImage(sentence, reason) from error


def _oddities(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Read before the pixels are, for Pillow turns a TIFF and forgets its tag."""
    deep = image.mode.startswith("I") or any("16" in str(part) for tile in image.tile for part in tile[3:])
    found = {
        TURNED: _rotation(image) is not None,
        DEEP: deep,
        TRANSPARENT: image.has_transparency_data,
        FRAMES: bool(getattr(image, "is_animated", False)),
    }
    return tuple(name for name, holds in found.items() if holds)


def _format(content: bytes) -> str:
    """The format that the first bytes tell."""
    if not content:
        raise UnreadableImage(f"is empty (0 bytes); {REPAIR}", "empty")
    found = BEGINNINGS.match(content)
    if found is None or found.lastgroup is None:
        taken = ", ".join(OPENERS)
        raise UnreadableImage(f"is none of {taken}: it begins with {bytes(content[:8])!r}; {CONVERT}", "no image")
    return found.lastgroup


def _check_png(content: bytes) -> None:
    """Walk the chunks to the end: Pillow misses a cut behind the last row, and wrong checksums of pixels."""
    view, place, compressed = memoryview(content), 8, 0
    kind = b""
    while kind != b"IEND":
        if place + 12 > len(content):
            raise UnreadableImage(f"is truncated: the PNG ends before its end chunk (IEND); {REPAIR}", "truncated")
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            missing = end - len(content)
            raise UnreadableImage(
                f"is truncated: its PNG chunk {_chunk(kind)} lacks {missing:,} bytes; {REPAIR}", "truncated"
            )
        critical = not kind[0] & 32
        if critical and zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise UnreadableImage(f"is damaged: the checksum of its PNG chunk {_chunk(kind)} is wrong; {REPAIR}")
        compressed += kind in (b"zTXt", b"iTXt", b"iCCP")
        place = end
    if compressed > MAX_COMPRESSED_CHUNKS:
        limit = f"more than the limit of {MAX_COMPRESSED_CHUNKS}; save it again without metadata"
        raise UnreadableImage(f"has {compressed:,} compressed text chunks, {limit}", "too large")


def _check_size(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    what = f"has {width:,} x {height:,} = {width * height:,} pixels"
    if max(width, height) > MAX_SIDE:
        raise UnreadableImage(f"{what}, a side longer than the limit of {MAX_SIDE:,}; {SCALE}", "too large")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{what}, more than the limit of {MAX_PIXELS:,}; {SCALE}", "too large")
    if any(tile[0] == "bmp_rle" for tile in image.tile) and width * height > MAX_RUN_LENGTH_PIXELS:
        limit = f"more than the limit of {MAX_RUN_LENGTH_PIXELS:,} for a BMP with run lengths"
        raise UnreadableImage(f"{what}, {limit}; save it as PNG", "too large")


def _check_scans(content: bytes) -> None:
    scans = content.count(b"\xff\xda")  # a scan's mark: inside compressed data, zero follows every 0xff
    if scans > MAX_SCANS:
        raise UnreadableImage(
            f"has {scans:,} progressive scans, more than the limit of {MAX_SCANS}; save it again", "too large"
        )


def _rotation(image: Image.Image) -> Image.Transpose | None:
    """What makes a decoded image upright; Pillow itself turns TIFF and drops the tag."""
    try:
        return UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # corrupt EXIF comes in as many types as bytes, and says nothing about the pixels
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage(
            "has floating-point pixels, of which no range is known; save it with 8 or 16 bits", "floating point"
        )
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
        raise UnreadableImage(
            f"has grey values from {low:,} to {high:,}, not 0 to 65,535; save it with 8 or 16 bits", "32 bits"
        )
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


def _why_not_decoded(kind: str, content: bytes, error: Exception) -> tuple[str, str]:
    """The reason in short, and the sentence."""
    if isinstance(error, MemoryError):
        return NO_MEMORY, f"does not fit in memory as a {kind}; scale it down, or free memory"
    said = str(error) or type(error).__name__
    if said == "not identified by this driver":
        said = "its header has a width or height of zero, or no known kind of pixels"
    if "truncated" in said.lower() or (kind in ENDS_EARLY and ENDS_EARLY[kind](content)):
        return "truncated", f"is truncated: the {kind} ends before its picture does ({said}); {REPAIR}"
    return "damaged", f"is damaged: it cannot be decoded as {kind} ({said}); {REPAIR}"


def _chunk(kind: bytes) -> str:
    return printable(kind.decode("latin-1"))
