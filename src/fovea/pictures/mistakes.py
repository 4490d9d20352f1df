"""A contact sheet of mistakes: what the network saw, what it was, what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fovea.errors import DataError, ShapeError
from fovea.pictures.contact_sheet import CELL, GAP, POINTS, Images, check_images
from fovea.pictures.contact_sheet import draw as draw_sheet
from fovea.pictures.figure import fit, one_line, png, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 25
ROOM = CELL - GAP  # inches of a caption


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
    title = title if shown == len(images) else f"{title} ({shown} of {len(images):,})"
    captions = [caption(*three) for three in zip(true[:shown], predicted[:shown], confidence[:shown], strict=True)]
    return draw_sheet(images[:shown], captions, title=title, empty="No mistakes to show.")


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
    check_images(images)
    for number, surely in enumerate(confidence):
        if not 0 <= surely <= 1:
            raise DataError(f"confidence (={surely}) of image {number} must lie in [0, 1]")
