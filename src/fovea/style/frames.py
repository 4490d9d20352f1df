"""Pictures one after another: each for itself, or as frames of a video, each begun where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fovea.style.inputs import Pictures
from fovea.style.sizing import Picture
from fovea.style.stylist import Moment, Stylised, Stylist


def stylise_each(
    stylist: Stylist,
    contents: Sequence[Path],
    styles: Sequence[Path | str | Picture],
    *,
    frames: bool = False,
    watch: Callable[[Moment], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[Path, Stylised]]:
    """Stylise files in their order; where it is stopped the unfinished one is the last.

    Args:
        stylist: The network, and how.
        contents: Image files.
        styles: Pictures.
        frames: Whether they follow each other in time: each search then begins at the last one's result, so that what
            does not move hardly changes. Of another size than the last, a frame is begun as the first was.
        watch: As in `fovea.stylise`.
        stop: Likewise.

    Raises:
        UnreadableImage, ShapeError: a file that is no image, or too small, when its turn comes.

    Source: Ruder, Dosovitskiy and Brox 2016, arXiv:1604.08610, section 4.1, without the optical flow.
    """
    before: Stylised | None = None
    for content in contents:
        pictures = Pictures.read(content, styles, (), None, stylist.options)
        if frames and before is not None and _alike(pictures.content, before.picture):
            pictures = replace(pictures, start=before.picture)
        before = stylist.stylise(pictures, watch=watch, stop=stop)
        yield content, before
        if not before.finished:
            return


def _alike(content: Picture, before: Picture) -> bool:
    """Whether a frame has the shape of the last one's result, up to the rounding of its sides."""
    (height, width), (rows, columns) = content.shape[:2], before.shape[:2]
    return bool(abs(height * columns - width * rows) <= max(height, width))
