"""Twenty thousand mutated files through the pixel door: an image or one typed error, in bounded memory.

The mutations run in a process of their own, so that a crash of a decoder is seen as one and its memory can be measured.
"""

import io
import json
import random
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FILES = 20_000
MOST_MEMORY = 800 << 20  # bytes of the whole process; 80 million pixels decoded and converted take 560 MB of it
VALUES = (0, 1, 2, 127, 128, 254, 255)


def seeds() -> dict[str, bytes]:
    """Small valid files of every format and the kinds within it."""
    steps = np.random.default_rng(1).normal(0, 20, (24, 31, 3)).cumsum(1)
    colour = Image.fromarray(np.clip(steps + 128, 0, 255).astype(np.uint8))
    frames = [colour, colour.transpose(Image.Transpose.ROTATE_180)]
    deep = Image.fromarray((np.arange(24 * 31) * 80).reshape(24, 31).astype(np.uint16))
    exif = Image.Exif()
    exif[274] = 6
    made = {
        "JPEG": (colour, {"exif": exif}),
        "JPEG progressive": (colour, {"progressive": True}),
        "JPEG cmyk": (colour.convert("CMYK"), {}),
        "JPEG grey": (colour.convert("L"), {}),
        "PNG": (colour, {}),
        "PNG palette": (colour.quantize(7), {"transparency": 2}),
        "PNG alpha": (colour.convert("RGBA"), {}),
        "PNG deep": (deep, {}),
        "PNG animated": (colour, {"save_all": True, "append_images": frames}),
        "GIF": (colour.convert("P"), {"save_all": True, "append_images": frames}),
        "BMP": (colour, {}),
        "BMP palette": (colour.quantize(16), {}),
        "WEBP": (colour, {"quality": 60}),
        "WEBP lossless": (colour.convert("RGBA"), {"lossless": True}),
        "TIFF": (colour, {}),
        "TIFF lzw": (colour, {"compression": "tiff_lzw"}),
        "TIFF jpeg": (colour, {"compression": "jpeg"}),
        "TIFF deep": (deep, {}),
    }
    found = {}
    for name, (image, options) in made.items():
        buffer = io.BytesIO()
        image.save(buffer, name.split()[0], **options)
        found[name] = buffer.getvalue()
    return found


def mutated(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Bytes overwritten, numbers made extreme, stretches cut, doubled, moved, or taken from another file."""
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 12))):
        place = draw.randrange(min(len(made), draw.choice((32, 128, 100_000)))) if made else 0
        length = draw.choice((1, 2, 4, 16, 64))
        kind = draw.randrange(7)
        if kind < 2 and made:
            made[place] = draw.choice((*VALUES, draw.randrange(256)))
        elif kind == 2:
            made[place : place + 4] = struct.pack(draw.choice("<>") + "I", draw.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
        elif kind == 3:
            del made[place : place + length]
        elif kind == 4:
            made[place:place] = made[place : place + length]
        elif kind == 5:
            start = draw.randrange(len(other))
            made[place : place + length] = other[start : start + length]
        else:
            made = made[: draw.randrange(len(made) + 1)]
    return bytes(made)


def mended(content: bytes) -> bytes:
    """A PNG with right checksums, so that the mutation reaches the decoder."""
    place, parts = 8, [content[:8]]
    while place + 12 <= len(content):
        end = place + 12 + struct.unpack_from(">I", content, place)[0]
        if end > len(content):
            break
        parts += [content[place : end - 4], struct.pack(">I", zlib.crc32(content[place + 4 : end - 4]))]
        place = end
    return b"".join(parts) + content[place:]


def fuzz(files: int) -> dict[str, int]:
    """How many mutated files were images, and how many were refused by which reason; anything else is raised."""
    from fovea.data.pixels import decode
    from fovea.errors import UnreadableImage

    draw, known = random.Random(20_000), seeds()
    counts: dict[str, int] = {}
    warnings.simplefilter("error")
    for number in range(files):
        name = draw.choice(list(known))
        content = mutated(known[name], known[draw.choice(list(known))], draw)
        content = mended(content) if name.startswith("PNG") and number % 4 else content
        verdict, sentence = "image", "fuzzed: "
        try:
            array = decode(content, name="fuzzed")
        except UnreadableImage as error:
            verdict, sentence = error.reason, str(error)
        else:
            assert array.ndim == 3
            assert array.shape[2] == 3
            assert array.dtype == np.uint8
        assert sentence.startswith("fuzzed: ")
        assert sentence.isprintable()
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def peak() -> int:
    """Most bytes that this process has held; what getrusage says on Linux may be those of the process it came from."""
    if sys.platform == "linux":
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(files: int) -> tuple[dict[str, int], int]:
    done = subprocess.run([sys.executable, __file__, str(files)], capture_output=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    counts, memory = json.loads(done.stdout.splitlines()[-1])
    return counts, memory


def test_some_mutated_files_are_images_or_refused_in_bounded_memory() -> None:
    counts, memory = run(4_000)
    assert sum(counts.values()) == 4_000
    assert {"image", "truncated", "damaged"} <= set(counts)
    assert memory < MOST_MEMORY


@pytest.mark.slow
def test_twenty_thousand_mutated_files_are_images_or_refused_in_bounded_memory() -> None:
    counts, memory = run(FILES)
    print(f"{FILES:,} mutated files, at most {memory / 2**20:,.0f} MiB: {counts}")
    assert sum(counts.values()) == FILES
    assert memory < MOST_MEMORY


if __name__ == "__main__":
    found = fuzz(int(sys.argv[1]))
    print(json.dumps([found, peak()]))
