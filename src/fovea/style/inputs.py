"""The pictures that go into a stylised one: read through the pixel door, and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fovea.data.pixels import read_image
from fovea.errors import ShapeError, UsageError
from fovea.style.options import StyliseOptions
from fovea.style.sizing import Picture


@dataclass(frozen=True)
class Pictures:
    """What is stylised, read and checked.

    Args:
        content, styles: Pictures.
        masks: One for each style, or none.
        start: To start from; None for what the options say.
    """

    content: Picture
    styles: tuple[Picture, ...]
    masks: tuple[Picture, ...] = ()
    start: Picture | None = None

    @classmethod
    def read(cls, content: Any, styles: Any, masks: Sequence[Any], start: Any, options: StyliseOptions) -> Pictures:
        """From files and arrays.

        Raises:
            UsageError, ShapeError, UnreadableImage: as in `stylise`.
        """
        alone = isinstance(styles, str | Path) or (isinstance(styles, np.ndarray) and styles.ndim == 3)
        several = (styles,) if alone else tuple(styles)
        if not several:
            raise UsageError("there is no style; name one picture or more")
        for what, count in (("mask", len(masks)), ("style weight", len(options.style_weights))):
            if count not in (0, len(several)):
                raise UsageError(f"{len(several)} styles have {count} {what}s; give one for each style, or none")
        read = _picture(content, "the content")
        shown = tuple(_picture(mask, "a mask") for mask in masks)
        for given, mask in zip(masks, shown, strict=True):
            if mask.shape != read.shape:
                name = given if isinstance(given, str | Path) else "a mask"
                raise ShapeError(
                    f"{name} has {mask.shape[1]}×{mask.shape[0]} pixels, the content {read.shape[1]}×{read.shape[0]}; "
                    f"a mask is drawn over the content, pixel by pixel"
                )
        if shown and not all(mask.any() for mask in shown):
            raise UsageError("a mask is black all over, so its style is wanted nowhere; leave the style out")
        begin = None if start is None else _picture(start, "the start")
        return cls(read, tuple(_picture(each, "a style") for each in several), shown, begin)


def _picture(given: Any, what: str) -> Picture:
    """A picture, from a file or an array.

    Raises:
        ShapeError: an array that is no RGB picture of 8 bits.
        UnreadableImage: a file that is no image.
    """
    if isinstance(given, str | Path):
        return read_image(Path(given))
    if not isinstance(given, np.ndarray) or given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3:
        told = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise ShapeError(f"{what} is {told}; give a file, or an array (height, width, 3) of uint8")
    return given
