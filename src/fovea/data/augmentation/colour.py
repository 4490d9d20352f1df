"""Distortions of 8-bit images in RGB or grey, one by one: what the published policies draw from.

Every operation takes an image and a magnitude whose unit is its own; geometric ones also the level that comes in at
the border, and they take the nearest pixel. Pixels equal torchvision's, operation by operation.

Source: Cubuk et al. 2018, arXiv:1805.09501, Table 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Row = tuple[float, float, float]

SAME_COLUMN: Final[Row] = (1.0, 0.0, 0.0)
SAME_ROW: Final[Row] = (0.0, 1.0, 0.0)


def apply(image: Image.Image, operation: str, magnitude: float = 0.0, fill: int = 0) -> Image.Image:
    """The image after one operation.

    Args:
        image: RGB or L.
        operation: A name in GEOMETRIC or POINTWISE.
        magnitude: In the operation's unit: slope, pixels, degrees, factor minus 1, bits kept, grey level.
        fill: The level of every channel that comes in where a geometric operation leaves nothing.
    """
    if operation in GEOMETRIC:
        return GEOMETRIC[operation](image, magnitude, fill)
    return POINTWISE[operation](image, magnitude)


def photometric(image: Image.Image, amount: float, draws: NDArray[np.float64]) -> Image.Image:
    """Brightness, contrast and saturation by factors uniform in [1 - amount, 1 + amount], in random order.

    Args:
        image: RGB, or L, whose saturation stays nothing.
        amount: From 0 to 1.
        draws: Four uniform numbers: the order, and three factors.

    Source: Howard 2013, arXiv:1312.5402, section 2.2.
    """
    order = ORDERS[int(draws[0] * len(ORDERS))]
    for place in order:
        image = apply(image, LIGHT[place], amount * (2 * float(draws[1 + place]) - 1))
    return image


def _moved(image: Image.Image, across: Row, down: Row, fill: int) -> Image.Image:
    """Each pixel (x, y) taken from column ax + by + c and row dx + ey + f, with (a, b, c) and (d, e, f)."""
    nearest = Image.Resampling.NEAREST
    fillcolor = _level(image, fill)
    return image.transform(image.size, Image.Transform.AFFINE, across + down, nearest, fillcolor=fillcolor)


def _level(image: Image.Image, fill: int) -> int | tuple[int, ...]:
    return fill if image.mode == "L" else (fill,) * len(image.getbands())


# fmt: off
GEOMETRIC: Final[dict[str, Callable[[Image.Image, float, int], Image.Image]]] = {
    "shear_x":     lambda image, slope, fill: _moved(image, (1.0, slope, 0.0), SAME_ROW, fill),
    "shear_y":     lambda image, slope, fill: _moved(image, SAME_COLUMN, (slope, 1.0, 0.0), fill),
    "translate_x": lambda image, pixels, fill: _moved(image, (1.0, 0.0, -float(int(pixels))), SAME_ROW, fill),
    "translate_y": lambda image, pixels, fill: _moved(image, SAME_COLUMN, (0.0, 1.0, -float(int(pixels))), fill),
    "rotate":      lambda image, degrees, fill: image.rotate(degrees, fillcolor=_level(image, fill)),
}
POINTWISE: Final[dict[str, Callable[[Image.Image, float], Image.Image]]] = {
    "identity":     lambda image, _: image,
    "brightness":   lambda image, change: ImageEnhance.Brightness(image).enhance(1 + change),
    "colour":       lambda image, change: ImageEnhance.Color(image).enhance(1 + change),
    "contrast":     lambda image, change: ImageEnhance.Contrast(image).enhance(1 + change),
    "sharpness":    lambda image, change: ImageEnhance.Sharpness(image).enhance(1 + change),
    "posterise":    lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarise":     lambda image, level: ImageOps.solarize(image, math.ceil(level)),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise":     lambda image, _: ImageOps.equalize(image),
    "invert":       lambda image, _: ImageOps.invert(image),
}
# fmt: on
LIGHT: Final = ("brightness", "contrast", "colour")
ORDERS: Final = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
