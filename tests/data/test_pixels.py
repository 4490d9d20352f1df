"""The pixel door against the section Images of the fault list; every fixture is made here."""

import io
import os
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from fovea.data import pixels, reading
from fovea.data.pixels import decode, read_image
from fovea.errors import UnreadableImage


def noise(height: int = 41, width: int = 53) -> np.ndarray:
    steps = np.random.default_rng(0).normal(0, 20, (height, width, 3)).cumsum(1)
    return np.clip(steps + 128, 0, 255).astype(np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(content: bytes, name: str = "folder/cat.jpg") -> str:
    """The sentence of the refusal, which names the file and proposes a step."""
    with pytest.raises(UnreadableImage) as caught:
        decode(content, name=name)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name}: ")
    assert ";" in sentence
    assert "\n" not in sentence
    assert caught.value.exit_code == 3
    return sentence


def refused_cheaply(content: bytes) -> str:
    """The sentence of a refusal that takes under a second and 8 MB; the quickest of three: the machine may stall."""
    with pytest.raises(UnreadableImage):
        decode(content, name="warm up")
    tracemalloc.start()
    seconds = []
    try:
        for _ in range(3):
            start = time.process_time()
            sentence = refusal(content)
            seconds.append(time.process_time() - start)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
        assert min(seconds) < 1
    finally:
        tracemalloc.stop()
    return sentence


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, with right lengths and checksums."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int, *, depth: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def huge(kind: str, width: int, height: int) -> bytes:
    """A small file whose header announces these sides."""
    if kind == "PNG":
        return png(png_header(width, height), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    small = bytearray(encode(noise(1, 1), kind))
    if kind == "JPEG":
        place = small.index(b"\xff\xc0")
        small[place + 5 : place + 9] = struct.pack(">HH", height, width)
    elif kind == "GIF":
        place = small.index(b",", 13 + 6)
        small[6:10] = small[place + 5 : place + 9] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        small[18:26] = struct.pack("<II", width, height)
    elif kind == "WEBP":
        small[26:30] = struct.pack("<HH", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            place = tiff_tag(small, tag)
            small[place + 2 : place + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(small)


def tiff_tag(content: bytes, tag: int) -> int:
    start = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, start)[0]
    return next(
        p for p in range(start + 2, start + 2 + 12 * count, 12) if struct.unpack_from("<H", content, p)[0] == tag
    )


LOSSLESS = [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]


# What is taken, and what comes out


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_give_the_very_pixels(kind: str, options: dict[str, object]) -> None:
    array = decode(encode(noise(), kind, **options), name="a")
    np.testing.assert_array_equal(array, noise())
    assert array.dtype == np.uint8
    assert array.flags.writeable
    assert array.flags.c_contiguous


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_jpeg_is_what_pillow_decodes(options: dict[str, object]) -> None:
    content = encode(noise(), "JPEG", **options)
    np.testing.assert_array_equal(decode(content, name="a"), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_wrong_extension_does_not_matter(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.txt"
    file.write_bytes(encode(noise(), kind))
    assert read_image(file).shape == (41, 53, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 20_000), (20_000, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF"])
def test_extreme_sides(kind: str, height: int, width: int) -> None:
    assert decode(encode(np.zeros((height, width, 3), np.uint8), kind), name="a").shape == (height, width, 3)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_comes_as_three_equal_channels_and_goes_back_exactly(kind: str) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    array = decode(encode(grey, kind), name="a")
    np.testing.assert_array_equal(array, np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(np.asarray(Image.fromarray(array).convert("L")), grey)


def test_bilevel_is_black_and_white() -> None:
    bits = np.random.default_rng(0).random((9, 17)) < 0.5
    array = decode(encode(Image.fromarray(bits), "PNG"), name="a")
    np.testing.assert_array_equal(array, np.stack([bits * np.uint8(255)] * 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    deep = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    array = decode(encode(deep, kind), name="a")
    np.testing.assert_array_equal(array[..., 0], (deep >> 8).astype(np.uint8))
    shallow = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(decode(encode(shallow * 257, kind), name="a")[..., 1], shallow)


def test_sixteen_bit_grey_and_colour_agree() -> None:
    deep = np.random.default_rng(0).integers(0, 65_536, (5, 7), dtype=np.uint16).astype(">u2")
    colour = np.stack([deep] * 3, axis=2).astype(">u2")
    pictures = [
        png(png_header(7, 5, depth=16, colour=kind), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        for kind, rows in (
            (0, b"".join(b"\0" + row.tobytes() for row in deep)),
            (2, b"".join(b"\0" + row.tobytes() for row in colour)),
        )
    ]
    np.testing.assert_array_equal(decode(pictures[0], name="a"), decode(pictures[1], name="a"))


def test_wide_integers_are_sixteen_bits_or_refused() -> None:
    values = np.arange(0, 65_536, 257, dtype=np.int32).reshape(16, 16)
    np.testing.assert_array_equal(decode(encode(values, "TIFF"), name="a")[..., 0], values >> 8)
    assert "grey values from -1 to 65,534, not 0 to 65,535" in refusal(encode(values - 1, "TIFF"))
    assert "grey values from 1 to 65,536" in refusal(encode(values + 1, "TIFF"))


def test_floating_point_is_refused() -> None:
    assert "floating-point pixels" in refusal(encode(np.ones((3, 3), np.float32), "TIFF"))


@pytest.mark.parametrize(
    ("mode", "kind"), [("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("RGBA", "TIFF"), ("LA", "TIFF")]
)
def test_alpha_lies_over_white(mode: str, kind: str) -> None:
    image = Image.fromarray(noise()).convert(mode)
    alpha = np.zeros((41, 53), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    array = decode(encode(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})), name="a")
    opaque = np.asarray(Image.fromarray(noise()).convert(mode).convert("RGB"))
    assert (array[:, :10] == 255).all()
    np.testing.assert_array_equal(array[:, 20:], opaque[:, 20:])
    half = opaque[:, 10:20] * (128 / 255) + 255 * (127 / 255)
    np.testing.assert_allclose(array[:, 10:20], half, atol=1)


def palette_image() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(kind: str) -> None:
    array = decode(encode(palette_image(), kind), name="a")
    assert array.tolist() == [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255, 255]), bytes([255, 0])])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    array = decode(encode(palette_image(), "PNG", transparency=transparency), name="a")
    assert array.tolist() == [[[10, 20, 30], [255, 255, 255]], [[70, 80, 90], [100, 110, 120]]]


def test_gif_transparency() -> None:
    array = decode(encode(palette_image(), "GIF", transparency=1), name="a")
    assert array[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(
    ("depth", "colour", "key", "rows", "expected"),
    [
        (8, 0, b"\0\x07", b"\0\x07\x08", [[255] * 3, [8] * 3]),
        (16, 0, b"\x07\x01", b"\0\x07\x01\x07\x02", [[255] * 3, [7] * 3]),
        (1, 0, b"\0\0", b"\0\x40", [[255] * 3, [255] * 3]),
        (8, 2, b"\0\1\0\2\0\3", b"\0\1\2\3\4\5\6", [[255] * 3, [4, 5, 6]]),
    ],
)
def test_transparent_colour(depth: int, colour: int, key: bytes, rows: bytes, expected: list[list[int]]) -> None:
    header = png_header(2, 1, depth=depth, colour=colour)
    content = png(header, (b"tRNS", key), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    assert decode(content, name="a")[0].tolist() == expected


@pytest.mark.parametrize("mode", ["PA", "RGBa", "RGBX", "HSV", "YCbCr", "LAB", "I;16B"])
def test_the_rarer_modes(mode: str) -> None:
    plain = Image.new("RGB", (4, 3), (204, 102, 51))  # a colour of Pillow's palette
    if mode == "I;16B":
        image = Image.frombytes(mode, (4, 3), b"\x64\x32" * 12)
    elif mode in ("PA", "RGBa"):
        image = plain.convert({"PA": "P", "RGBa": "RGBA"}[mode]).convert(mode)
    else:
        image = plain.convert(mode)
    converted = pixels._to_rgb(image)
    assert converted.mode == "RGB"
    expected = (100, 100, 100) if mode == "I;16B" else (204, 102, 51)
    np.testing.assert_allclose(np.asarray(converted)[0, 0], expected, atol=3)


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF")]
)
def test_other_colour_spaces(mode: str, kind: str) -> None:
    content = encode(Image.new("RGB", (16, 16), (200, 100, 50)).convert(mode), kind)
    np.testing.assert_allclose(decode(content, name="a")[8, 8], (200, 100, 50), atol=4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_makes_it_upright(kind: str, orientation: int) -> None:
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:12, :20] = (255, 0, 0)
    upright[12:, 20:] = (0, 0, 255)
    as_stored = {  # how a camera stores what stands upright so
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = decode(encode(np.ascontiguousarray(as_stored), kind, exif=exif), name="a")
    assert array.shape == upright.shape
    assert np.abs(array[4, 4].astype(int) - (255, 0, 0)).max() < 60
    assert np.abs(array[20, 36].astype(int) - (0, 0, 255)).max() < 60
    assert array[4, 36].max() < 60


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40,
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_corrupt_exif_is_passed_over_in_silence(kind: str, exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(encode(noise(), kind, exif=exif), name="a").shape == (41, 53, 3)


@pytest.mark.parametrize("value", [0, 9, 300])
def test_an_orientation_that_does_not_exist_is_passed_over(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    np.testing.assert_array_equal(decode(encode(noise(), "PNG", exif=exif), name="a"), noise())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_many_frames_the_first_and_quickly(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), (n % 256, n // 256, 0)) for n in range(20)]
    content = encode(
        frames[7], kind, save_all=True, append_images=frames, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert decode(content, name="a")[0, 0].tolist() == [7, 0, 0]


def test_ten_thousand_frames_are_quick() -> None:
    gif = encode(noise(), "GIF")
    frame = gif[gif.index(b",", 13 + 3 * 256) : -1]
    animated = gif[:-1] + frame * 10_000 + b";"
    control = struct.pack(">IIIIIHHBB", 0, 1, 1, 0, 0, 1, 1, 0, 0)
    row = zlib.compress(b"\0\x2a")
    chunks = [png_header(1, 1), (b"acTL", struct.pack(">II", 10_000, 0)), (b"fcTL", control), (b"IDAT", row)]
    for n in range(1, 10_000):
        chunks += [(b"fcTL", struct.pack(">I", 2 * n - 1) + control[4:]), (b"fdAT", struct.pack(">I", 2 * n) + row)]
    apng = png(*chunks, (b"IEND", b""))
    start = time.process_time()
    assert decode(animated, name="a").shape == (41, 53, 3)
    assert decode(apng, name="a").tolist() == [[[42, 42, 42]]]
    assert time.process_time() - start < 1


# What is refused, and how


@pytest.mark.parametrize(
    "content",
    [
        b"just text",
        b"<!DOCTYPE html><html></html>",
        b"PK\x03\x04" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7\n",
        b"\0" * 1000,
        b"P6 1 1 255 abc",
        b"\0\0\0\x1cftypavif",
        b"\x89PNG",
    ],
)
def test_other_content_is_refused_by_what_it_begins_with(content: bytes) -> None:
    sentence = refusal(content)
    assert "is none of JPEG, PNG, GIF, BMP, WEBP, TIFF" in sentence
    assert repr(content[:8]) in sentence


def test_no_interpreter_is_started_for_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen.__init__", started)
    monkeypatch.setattr("os.system", started)
    assert "is none of" in refusal(encode(noise(), "EPS"), name="eps.jpg")


def test_zero_bytes() -> None:
    assert "is empty (0 bytes)" in refusal(b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG"])
@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_zero_sides(kind: str, width: int, height: int) -> None:
    assert "width or height of zero" in refusal(huge(kind, width, height))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_ninety_megapixels_are_refused_from_the_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels.OPENERS[kind], "load", lambda _: pytest.fail("the pixels were decoded"))
    sentence = refused_cheaply(huge(kind, 10_000, 9_000))
    assert "has 10,000 x 9,000 = 90,000,000 pixels, more than the limit of 80,000,000" in sentence


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("sides", [(2**31, 1), (1, 2**31), (2**31, 2**31), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_headers_of_two_to_the_31_are_refused(kind: str, sides: tuple[int, int]) -> None:
    assert refused_cheaply(huge(kind, *sides))


def test_sides_have_a_limit_of_their_own() -> None:
    assert "65,501 x 1 = 65,501 pixels, a side longer than the limit of 65,500" in refused_cheaply(
        huge("PNG", 65_501, 1)
    )
    assert "a side longer than the limit" in refused_cheaply(huge("JPEG", 1, 65_535))


def test_webp_canvases_are_refused_before_they_are_made() -> None:
    refused_cheaply(huge("WEBP", 16_383, 16_383))
    animated = bytearray(encode(noise(4, 4), "WEBP", save_all=True, append_images=[Image.new("RGB", (4, 4))]))
    for side in (10_000, 16_383, 2**24):
        animated[24:30] = (side - 1).to_bytes(3, "little") * 2
        refused_cheaply(bytes(animated))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_compressed_text_bomb_is_refused(kind: bytes) -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    data = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + bomb
    assert "too large" in refused_cheaply(png(png_header(1, 1), (kind, data), (b"IDAT", b""), (b"IEND", b"")))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_many_small_text_bombs_are_refused(kind: bytes) -> None:
    data = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + zlib.compress(bytes(1_000_000))
    content = png(png_header(1, 1), *[(kind, data)] * 1000, (b"IDAT", b""), (b"IEND", b""))
    assert "has 1,000 compressed text chunks, more than the limit of 20" in refused_cheaply(content)


def test_a_jpeg_of_many_scans_is_refused() -> None:
    content = encode(noise(), "JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    assert "has 209 progressive scans, more than the limit of 100" in refused_cheaply(
        content[:-2] + content[scan:-2] * 199 + b"\xff\xd9"
    )


def test_a_bmp_of_run_lengths_has_a_smaller_limit() -> None:
    def bmp(width: int, height: int, runs: bytes) -> bytes:
        palette = b"".join(bytes((n, 0, 0, 0)) for n in range(256))
        size = 54 + len(palette) + len(runs)
        head = struct.pack("<2sIHHI", b"BM", size, 0, 0, 54 + len(palette))
        return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0) + palette + runs

    assert decode(bmp(3, 2, b"\3\7\0\0\3\x09\0\1"), name="a").tolist() == [[[0, 0, 9]] * 3, [[0, 0, 7]] * 3]
    sentence = refused_cheaply(bmp(65_500, 1_200, b"\1\5\0\0" * 1_200 + b"\0\1"))
    assert "more than the limit of 4,000,000 for a BMP with run lengths" in sentence


CUTTABLE = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("GIF", {}),
    ("BMP", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
]


@pytest.mark.parametrize(("kind", "options"), CUTTABLE)
def test_files_cut_at_10_to_99_per_cent_are_truncated(kind: str, options: dict[str, object]) -> None:
    content = encode(noise(200, 300), kind, **options)
    for per_cent in range(10, 100):
        sentence = refusal(content[: len(content) * per_cent // 100])
        assert "is truncated: " in sentence, (per_cent, sentence)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_last_bytes_count_too(kind: str) -> None:
    content = encode(noise(), kind)
    for cut in range(1, 40):
        assert "is truncated: " in refusal(content[:-cut])


def test_any_change_of_a_png_is_found_by_its_checksum() -> None:
    content = encode(noise(), "PNG")
    for place in range(content.index(b"IDAT") + 4, len(content) - 16, 7):
        changed = bytearray(content)
        changed[place] ^= 1
        assert "is damaged: the checksum of its PNG chunk IDAT is wrong" in refusal(bytes(changed))


def test_zeros_in_place_of_the_second_half_are_found() -> None:
    for kind in ("JPEG", "PNG"):
        content = encode(noise(), kind)
        half = len(content) // 2
        refusal(content[:half] + bytes(len(content) - half))


def test_bytes_behind_the_end_are_no_fault() -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        assert decode(encode(noise(), kind) + b"\0trailer" * 100, name="a").shape == (41, 53, 3)


def test_too_little_memory_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pixels.PngImageFile, "load", load)
    assert "does not fit in memory" in refusal(encode(noise(), "PNG"))


# The file behind the bytes


def unread(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_image(path)
    return str(caught.value)


def test_what_is_no_readable_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("missing", "dangling", "loop", "pipe", "empty")}
    paths["dangling"].symlink_to(tmp_path / "nowhere")
    paths["loop"].symlink_to(paths["loop"])
    os.mkfifo(paths["pipe"])
    paths["empty"].touch()
    reasons = {
        paths["missing"]: "does not exist; check the path",
        paths["dangling"]: "is a link to a file that does not exist",
        paths["loop"]: "is a link that leads back to itself",
        paths["pipe"]: "is a pipe, not a regular file",
        paths["empty"]: "is empty (0 bytes)",
        tmp_path: "is a folder, not a regular file",
        Path("/dev/null"): "is a device, not a regular file",
        tmp_path / ("n" * 300): "cannot be read (File name too long)",
        paths["empty"] / "below": "cannot be read (Not a directory)",
    }
    for path, reason in reasons.items():
        assert unread(path).startswith(f"{path}: {reason}")
    assert "cannot be read (" in unread(Path("nul\0byte"))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(encode(noise(), "PNG"))
    file.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def closed(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("os.open", closed)
    assert unread(file).startswith(f"{file}: may not be read (no permission); allow it with chmod")


def test_the_size_limit_holds_before_reading(tmp_path: Path) -> None:
    file = tmp_path / "large.bmp"
    with open(file, "wb") as sparse:
        sparse.truncate(reading.MAX_BYTES + 1)
    tracemalloc.start()
    assert "has 400,000,001 bytes, more than the limit of 400,000,000" in unread(file)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "name", [b"a b.png", b"two\nlines.png", "\N{GRINNING FACE}.png".encode(), b"\xff\xfe.png", b"n" * 255]
)
def test_odd_names_are_read_and_named_on_one_printable_line(name: bytes, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(name)
    file.write_bytes(encode(noise(), "PNG"))
    np.testing.assert_array_equal(read_image(file), noise())
    file.write_bytes(b"text")
    sentence = unread(file)
    assert sentence.isprintable()
    sentence.encode()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(noise(), "PNG"))
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), noise())


# Threads, and whatever else there is


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    content = encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    arrays: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: arrays.extend(decode(content, name="a") for _ in range(50))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(arrays) == 400
    assert all((array == arrays[0]).all() for array in arrays)
    assert warnings.filters == before


def image_or_refusal(content: bytes) -> None:
    array, sentence = None, "fuzzed: "
    try:
        array = decode(content, name="fuzzed")
    except UnreadableImage as error:
        sentence = str(error)
    assert sentence.startswith("fuzzed: ")
    assert sentence.isprintable()
    assert array is None or (array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8)


SMALL = {kind: encode(noise(12, 11), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")}
SMALL["TIFF lzw"] = encode(noise(12, 11), "TIFF", compression="tiff_lzw")


BEGINNINGS = [content[:length] for content in SMALL.values() for length in (4, 16, 40)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.one_of(st.binary(max_size=300), st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=300)))
)
@example(b"BM")
@example(b"\xff\xd8\xff")
@example(b"II*\0")
def test_any_bytes_are_an_image_or_refused(content: bytes) -> None:
    image_or_refusal(content)
