"""A contact sheet of mistakes: what the network saw, what it was, what it said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError, ShapeError
from fovea.pictures.figure import GREY, LEFT, fit, house_style, one_line, png, sheet, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
MOST = 25
CELL = 1.9  # inches of a picture with its caption
ROOM = CELL - 0.2  # inches of a caption
SMALL = 96  # pixels; up to this size each pixel is shown as a square
POINTS = 8.0


def mistakes(
    images: Images, true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], *, title: str
) -> bytes:
    """A PNG with the first 25 mistakes, each captioned with the true class, what was said instead and how surely.

    Small images keep their pixels as squares. Long class names are shortened. No mistakes give a page that says so.

    Args:
        images: 8-bit (N, H, W, 3), or any sequence of (H, W, 3), (H, W, 1) or (H, W) whose sizes may differ.
        true: The N true classes.
        predicted: The N classes that were said instead.
        confidence: The probabilities of what was said, in [0, 1].
        title: Stands above the sheet; "25 of N" is added where some are left out.

    Raises:
        ShapeError: images, true, predicted and confidence disagree on N, or an image has another shape.
        DataError: an image is not 8-bit, or a confidence lies outside [0, 1].
    """
    return png(draw(images, true, predicted, confidence, title=title))


def draw(
    images: Images, true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float], *, title: str
) -> Figure:
    """The figure of `mistakes`."""
    _check(images, true, predicted, confidence)
    shown = min(len(images), MOST)
    columns = max(2, math.ceil(math.sqrt(shown)))
    with house_style():
        if not shown:
            return _empty(title)
        title = title if shown == len(images) else f"{title} ({shown} of {len(images):,})"
        captions = [caption(*three) for three in zip(true[:shown], predicted[:shown], confidence[:shown], strict=True)]
        figure = sheet(max(4.8, CELL * columns), CELL * math.ceil(shown / columns) + 0.8, title)
        grid = figure.subplots(math.ceil(shown / columns), columns, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, image, text in zip(grid.flat, images, captions, strict=False):
            _show(axes, np.asarray(image), text)
    return figure


def caption(true: str, predicted: str, confidence: float) -> str:
    """The words "true 3, said 8 (97 %)", on two lines and shortened where they are too wide for their picture."""
    first, second, surely = f"true {one_line(true)}", f"said {one_line(predicted)}", f" ({_per_cent(confidence)})"
    line = f"{first}, {second}{surely}"
    if width(line, POINTS) <= ROOM:
        return line
    return fit(first, ROOM, POINTS) + "\n" + fit(second, ROOM - width(surely, POINTS), POINTS) + surely


def _per_cent(confidence: float) -> str:
    almost = 0.995 <= confidence < 1
    return "> 99 %" if almost else f"{100 * confidence:.0f} %"


def _check(images: Images, true: Sequence[str], predicted: Sequence[str], confidence: Sequence[float]) -> None:
    if not len(images) == len(true) == len(predicted) == len(confidence):
        raise ShapeError(
            f"images ({len(images)}), true ({len(true)}), predicted ({len(predicted)}) and confidence "
            f"({len(confidence)}) must be of one length; give one of each per mistake"
        )
    for number, image in enumerate(images):
        shape = np.shape(image)
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))) or 0 in shape:
            raise ShapeError(f"image {number} (shape {shape}) must be (H, W, 3), (H, W, 1) or (H, W)")
        if np.asarray(image).dtype != np.uint8:
            raise DataError(f"image {number} ({np.asarray(image).dtype}) must be 8-bit, values from 0 to 255 as uint8")
    for number, surely in enumerate(confidence):
        if not 0 <= surely <= 1:
            raise DataError(f"confidence (={surely}) of image {number} must lie in [0, 1]")


def _empty(title: str) -> Figure:
    figure = sheet(5.0, 1.6, title)
    figure.text(LEFT / 5, 0.55, "No mistakes to show.", va="center", fontsize=11, color=GREY)
    return figure


def _show(axes: Axes, image: NDArray[np.uint8], text: str) -> None:
    squares = max(image.shape[:2]) <= SMALL
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if squares else "auto")
    axes.set_anchor("N")
    axes.set_title(text, fontsize=POINTS, loc="center")
