"""Style pictures made by numbers, for the benchmarks and documents of style transfer: nobody's but ours.

    python benchmarks/style_pictures.py FOLDER

writes strokes.png (brush strokes along a flow of whirls), mosaic.png (tiles of glass) and hatching.png (ink), each of
512 pixels, and china.png and flower.png, the two photographs that come with scikit-learn. Equal numpy and Pillow give
equal pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE = 512
NIGHT = np.array(
    [(12, 22, 60), (18, 38, 110), (36, 84, 170), (80, 140, 200), (150, 190, 215), (240, 214, 120), (250, 180, 60)]
)
GLASS = np.array([(168, 32, 44), (224, 120, 30), (242, 196, 60), (40, 110, 80), (24, 70, 140), (90, 40, 110)])


def strokes(seed: int = 0, count: int = 9000) -> Image.Image:
    """Short strokes along a flow of seven whirls, light and warm near them, dark blue elsewhere."""
    draws = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), (22, 36, 92))
    pen = ImageDraw.Draw(image)
    centres, turns = draws.uniform(0, SIDE, (7, 2)), draws.choice([-1, 1], 7)
    reach = draws.uniform(50, 120, 7)
    for _ in range(count):
        place = draws.uniform(0, SIDE, 2)
        away = np.linalg.norm(centres - place, axis=1)
        light = np.exp(-((away.min() / reach[away.argmin()]) ** 2))
        shade = int(np.clip(draws.normal(1 + 5 * light, 1.0), 0, len(NIGHT) - 1))
        colour = np.clip(NIGHT[shade] + draws.normal(0, 12, 3), 0, 255).astype(int)
        points = []
        for _ in range(7):
            points.append(tuple(place))
            place = place + 4 * _flow(place, centres, turns)
        pen.line(points, fill=tuple(colour.tolist()), width=int(draws.integers(3, 6)), joint="curve")
    return image


def mosaic(seed: int = 0, count: int = 420) -> Image.Image:
    """Pieces of coloured glass in lead."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centres = draws.uniform(0, SIDE, (count, 2))
    away = np.stack([np.hypot(rows - y, columns - x) for y, x in centres]).astype(np.float32)
    two = np.partition(away, 1, axis=0)[:2]
    light = 1 + 0.25 * np.sin(rows / 37) * np.cos(columns / 53) + draws.normal(0, 0.03, rows.shape)
    pieces = GLASS[draws.integers(0, len(GLASS), count)] + draws.normal(0, 18, (count, 3))
    pixels = pieces[away.argmin(0)] * light[:, :, None]
    pixels[two[1] - two[0] < 4] = (28, 26, 30)
    return _image(pixels)


def hatching(seed: int = 0) -> Image.Image:
    """Layers of ink lines over paper, more of them where it is darker."""
    draws = np.random.default_rng(seed)
    coarse = Image.fromarray((draws.uniform(0, 1, (7, 7)) * 255).astype(np.uint8))
    dark = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) / 255
    rows, columns = np.mgrid[:SIDE, :SIDE]
    paper = np.full((SIDE, SIDE, 3), (240, 230, 208), float) + draws.normal(0, 4, (SIDE, SIDE, 1))
    for n, angle in enumerate((0.6, 2.2, 1.4, 2.9)):
        wobble = 2.0 * np.sin(rows / 23 + n) + 2.0 * np.cos(columns / 31 - n)
        lines = np.sin((rows * np.sin(angle) + columns * np.cos(angle) + wobble) * 2 * np.pi / 7)
        paper[(lines > 0.35) & (dark > 0.15 + 0.2 * n)] = (38, 34, 46)
    return _image(paper).filter(ImageFilter.GaussianBlur(0.6))


def _flow(place: NDArray[np.float64], centres: NDArray[np.float64], turns: NDArray[np.int64]) -> NDArray[np.float64]:
    """The direction of the flow at a place, of length 1."""
    towards = centres - place
    pull = np.exp(-((np.linalg.norm(towards, axis=1) / 110) ** 2)) * turns
    along = np.array([(pull * -towards[:, 1]).sum() + 26, (pull * towards[:, 0]).sum() + 8 * np.sin(place[0] / 60)])
    return along / (np.linalg.norm(along) + 1e-6)


def _image(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path) -> None:
    """All pictures, into a folder."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    for make in (strokes, mosaic, hatching):
        make().save(folder / f"{make.__name__}.png")
    for name, pixels in zip(("china", "flower"), load_sample_images().images, strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
