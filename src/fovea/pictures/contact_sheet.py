"""A contact sheet: pictures in rows, each under its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError, ShapeError
from fovea.pictures.figure import GREY, LEFT, bare, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
CELL = 1.9  # inches of a picture with its caption
GAP = 0.2  # inches of a cell that its caption leaves free
SMALL = 96  # pixels; up to this size each pixel is shown as a square
POINTS = 8.0
NARROWEST = 4.8  # inches of a sheet, so that its title has room


def contact_sheet(
    images: Images, captions: Sequence[str], *, title: str, columns: int | None = None, cell: float = CELL
) -> bytes:
    """A PNG with every image under its caption, in rows.

    Small images keep their pixels as squares. Each line of a caption is shortened in its middle to the width of its
    cell. No images give a page that says so.

    Args:
        images: 8-bit (N, H, W, 3), or any sequence of (H, W, 3), (H, W, 1) or (H, W) whose sizes may differ.
        captions: The N captions, of one line or more.
        title: Stands above the sheet.
        columns: Images in a row; None makes the sheet about square.
        cell: Inches of an image's cell.

    Raises:
        ShapeError: images and captions disagree on N, or an image has another shape.
        DataError: an image is not 8-bit.
    """
    if len(images) != len(captions):
        raise ShapeError(f"images ({len(images)}) and captions ({len(captions)}) must be of one length; caption each")
    return png(draw(images, captions, title=title, columns=columns, cell=cell))


def draw(
    images: Images,
    captions: Sequence[str],
    *,
    title: str,
    columns: int | None = None,
    cell: float = CELL,
    empty: str = "Nothing to show.",
) -> Figure:
    """The figure of `contact_sheet`; `empty` is what it says where there are no images."""
    check_images(images)
    across = max(columns or max(2, math.ceil(math.sqrt(len(images)))), 1)
    down = math.ceil(len(images) / across)
    with house_style():
        if not len(images):
            return _empty(title, empty)
        figure = sheet(max(NARROWEST, cell * across), _height(images, cell) * down + 0.8, title)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            bare(axes)
        for axes in grid.flat[len(images) :]:
            axes.remove()
        for axes, image, caption in zip(grid.flat, images, captions, strict=False):
            _show(axes, np.asarray(image), "\n".join(fit(line, cell - GAP, POINTS) for line in caption.split("\n")))
    return figure


def check_images(images: Images) -> None:
    """Refuse what is no image of 8 bits.

    Raises:
        ShapeError: another shape.
        DataError: other numbers.
    """
    for number, image in enumerate(images):
        shape = np.shape(image)
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))) or 0 in shape:
            raise ShapeError(f"image {number} (shape {shape}) must be (H, W, 3), (H, W, 1) or (H, W)")
        if np.asarray(image).dtype != np.uint8:
            raise DataError(f"image {number} ({np.asarray(image).dtype}) must be 8-bit, values from 0 to 255 as uint8")


def beside(images: Sequence[NDArray[np.uint8]], *, side: int = 128, gap: int = 6) -> NDArray[np.uint8]:
    """Images of colour side by side on white, each enlarged or shrunk so that its longer side has that many pixels."""
    scaled = [_scaled(image, side) for image in images]
    tall = max(len(image) for image in scaled)
    whole = np.full((tall, (side + gap) * len(scaled) - gap, 3), 255, np.uint8)
    for place, image in enumerate(scaled):
        top, left = (tall - image.shape[0]) // 2, place * (side + gap) + (side - image.shape[1]) // 2
        whole[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


def _scaled(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """By nearest neighbours."""
    height, width = image.shape[:2]
    longer = max(height, width)
    tall, wide = max(1, side * height // longer), max(1, side * width // longer)
    rows, columns = np.arange(tall) * height // tall, np.arange(wide) * width // wide
    return np.asarray(image[rows[:, None], columns])


def _height(images: Images, cell: float) -> float:
    """Inches of a row: of wide images less than of square ones."""
    tallest: float = max(np.shape(image)[0] / np.shape(image)[1] for image in images)
    return cell * min(1.0, tallest) + (0.0 if tallest > 0.8 else 0.35)


def _empty(title: str, words: str) -> Figure:
    figure = sheet(5.0, 1.6, title)
    figure.text(LEFT / 5, 0.55, words, va="center", fontsize=11, color=GREY)
    return figure


def _show(axes: Axes, image: NDArray[np.uint8], text: str) -> None:
    squares = max(image.shape[:2]) <= SMALL
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if squares else "auto")
    axes.set_anchor("N")
    axes.set_title(text, fontsize=POINTS, loc="center")
