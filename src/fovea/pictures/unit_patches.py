"""What excites units most: a block of patches for each, as Zeiler and Fergus show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fovea.errors import DataError, ShapeError
from fovea.pictures.contact_sheet import check_images
from fovea.pictures.figure import GREY, bare, fit, house_style, png, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, GAP = 72, 3  # dots of a patch, and between two
PADDED, BETWEEN = 230, 176  # greys: beyond the image's edge, and between patches
BLOCK = 2.1  # inches of a block


class Patches(NamedTuple):
    """The patches of one unit.

    Args:
        words: Stand above the block.
        images: 8-bit (h, w, 3), (h, w, 1) or (h, w), most exciting first.
        below: Stand below it.
        beside: What in each patch excites the unit, as pictures, in the same order; none where empty.
    """

    words: str
    images: Sequence[NDArray[np.uint8]]
    below: str = ""
    beside: Sequence[NDArray[np.uint8]] = ()


def unit_patches(units: Sequence[Patches], *, title: str) -> bytes:
    """A PNG with a square block of patches for each unit.

    Args:
        units: The blocks, in rows of at most four; of two with what excites each beside it.
        title: Stands above the sheet.

    Raises:
        DataError: no unit, or one without a patch.
        ShapeError: another number of pictures beside a unit's patches than patches.
    """
    return png(draw(units, title=title))


def draw(units: Sequence[Patches], *, title: str) -> Figure:
    """The figure of `unit_patches`."""
    if not units or not all(len(unit.images) for unit in units):
        raise DataError("there is no patch to draw; give each unit at least one")
    if any(len(unit.beside) not in (0, len(unit.images)) for unit in units):
        raise ShapeError("beside a unit's patches must stand as many pictures, or none")
    wide = 2 if any(len(unit.beside) for unit in units) else 1
    across = min(4 // wide, len(units) if len(units) <= 3 else math.ceil(math.sqrt(len(units))))
    down = -(-len(units) // across)
    with house_style():
        figure = sheet(max(4.8, BLOCK * wide * across), (BLOCK + 0.35) * down + 0.6, title)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat:
            bare(axes)
            axes.set_anchor("N")
        for axes, unit in zip(grid.flat, units, strict=False):
            axes.imshow(_paired(unit, wide))
            axes.set_title(fit(unit.words, BLOCK - 0.1, 9), fontsize=9, loc="left", pad=3)
            axes.text(
                0, -0.02, fit(unit.below, BLOCK - 0.1, 8), transform=axes.transAxes, fontsize=8, color=GREY, va="top"
            )
    return figure


def block(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The patches in a square, row by row, all enlarged or shrunk alike; white where there is none."""
    check_images(images)
    across = math.ceil(math.sqrt(len(images)))
    down = -(-len(images) // across)
    longest = max(max(image.shape[:2]) for image in images)
    sheet = np.full((down * (SIDE + GAP) - GAP, across * (SIDE + GAP) - GAP, 3), BETWEEN, np.uint8)
    for number in range(down * across):
        row, column = divmod(number, across)
        top, left = row * (SIDE + GAP), column * (SIDE + GAP)
        if number >= len(images):
            sheet[top:, left - GAP * (column > 0) :] = 255
            break
        sheet[top : top + SIDE, left : left + SIDE] = _squared(np.atleast_3d(images[number]), SIDE / longest)
    return sheet


def _paired(unit: Patches, wide: int) -> NDArray[np.uint8]:
    """The unit's patches, and to the right what excites it in them; white where others have that and it has not."""
    own = block(unit.images)
    if wide == 1:
        return own
    beside = block(unit.beside) if len(unit.beside) else np.full_like(own, 255)
    return np.hstack([own, np.full((len(own), 4 * GAP, 3), 255, np.uint8), beside])


def _squared(image: NDArray[np.uint8], times: float) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3), its proportions kept on grey; by nearest neighbours where it is enlarged, else by means."""
    from PIL import Image

    height, width = image.shape[:2]
    size = max(1, round(width * times)), max(1, round(height * times))
    how = Image.Resampling.NEAREST if times > 1 else Image.Resampling.BOX
    small = Image.fromarray(image.repeat(3, axis=2) if image.shape[2] == 1 else image).resize(size, how)
    whole = np.full((SIDE, SIDE, 3), PADDED, np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    whole[top : top + size[1], left : left + size[0]] = np.asarray(small)
    return whole
