"""Sheets of stylised pictures for the documents: examples, the dial between content and style, sizes.

    python benchmarks/style_sheets.py vgg19 docs

draws style.jpg (three styles), style_dial.jpg (strengths), style_sizes.jpg (one size against coarse to fine), from
scikit-learn's photographs and the pictures of `style_pictures.py`.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

import fovea
from fovea.commands.allocator import keep_memory
from fovea.data.pixels import read_image
from fovea.pictures.contact_sheet import contact_sheet
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.sizing import Picture, fitted
from fovea.style.stylist import Stylist

SIDE = 256


def stylised(network: fovea.Model, folder: Path, content: str, style: str, **options: object) -> tuple[Picture, str]:
    """A picture, and what is left of its loss."""
    given = StyliseOptions(**{"size": (SIDE,), **options})  # type: ignore[arg-type]  # options by name
    photo, painting = (read_image(folder / f"{name}.png") for name in (content, style))
    pictures = Pictures(photo, (painting,))
    result = Stylist(network, given).stylise(pictures)
    print(f"{content}, {style}, {options}: {result}", flush=True)
    return result.picture, f"loss {100 * result.history[-1].total / result.history[0].total:.1f} % of the start's"


def main() -> None:
    """Draw the sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a bundle of VGG-19")
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    keep_memory()
    network = fovea.load(asked.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from style_pictures import write

        write(folder)
        shown, captions = [], []
        for content, style in (("china", "strokes"), ("flower", "mosaic"), ("china", "hatching")):
            picture, _ = stylised(network, folder, content, style, strength=0.9, steps=150)
            photo, painting = (fitted(read_image(folder / f"{each}.png"), SIDE) for each in (content, style))
            shown += [photo, painting[: len(photo)], picture]
            captions += [content, style, f"{content} by {style}"]
        _write(asked.out / "style.jpg", shown, captions, "Content, style, and both", columns=3)

        shown, captions = [], []
        for strength in (0.1, 0.25, 0.5, 0.75, 0.9, 0.97):
            picture, left = stylised(network, folder, "china", "strokes", strength=strength, steps=60)
            shown.append(picture)
            captions.append(f"strength {strength:g}\n{left}")
        _write(asked.out / "style_dial.jpg", shown, captions, "The dial: 1 to 1,000 × (s / (1 - s))²", columns=3)

        shown, captions = [], []
        for sizes in ((128,), (256,), (512,), (128, 256, 512)):
            picture, _ = stylised(network, folder, "flower", "strokes", size=sizes, strength=0.9, steps=40)
            shown.append(picture)
            captions.append(f"{', '.join(map(str, sizes))} pixels")
        _write(asked.out / "style_sizes.jpg", shown, captions, "Sizes, and from coarse to fine", columns=2)


def _write(path: Path, shown: list[Picture], captions: list[str], title: str, *, columns: int) -> None:
    sheet = contact_sheet(shown, captions, title=title, columns=columns, cell=2.4)
    Image.open(io.BytesIO(sheet)).convert("RGB").save(path, quality=88)
    print(path, flush=True)


if __name__ == "__main__":
    main()
