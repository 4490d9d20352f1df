"""Random squares of whole images, each brought to the network's size by one resampling of the original."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.data.options import Augmentation, Interpolation
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ShapeError, require

Box = tuple[float, float, float, float]

TRIES: Final = 10
CROP_DRAWS: Final = 4 * TRIES
ASPECTS: Final = (3 / 4, 4 / 3)


def cropped(
    image: NDArray[np.generic], spec: Preprocessing, augmentation: Augmentation, draws: NDArray[np.float64]
) -> NDArray[np.generic]:
    """A raw image (h, w) or (h, w, c) of 8 bits, cropped as its draws say, as (image_size, image_size, in_channels).

    Raises:
        ShapeError: channels that cannot become in_channels, or an image that is not of 8 bits.
        UsageError: a shorter side below the network's image.
    """
    planes = spec.channelled(image)
    height, width, channels = planes.shape
    if planes.dtype != np.uint8 or channels not in (1, 3):
        raise ShapeError(
            f"an image of {channels} channels and type {planes.dtype} cannot be cropped at random; give images of "
            f"8 bits with 1 or 3 channels, or take --crop centre"
        )
    box = crop_box((width, height), augmentation, resize=spec.resize, image_size=spec.image_size, draws=draws)
    return resized_crop(planes, box, spec.image_size, spec.interpolation)


def crop_box(
    size: tuple[int, int], augmentation: Augmentation, *, resize: int, image_size: int, draws: NDArray[np.float64]
) -> Box:
    """The box (left, top, right, bottom), in pixels of the original, that becomes the network's square.

    random: the shorter side becomes an integer from `sides`, each equally likely; then a square of image_size lies
    anywhere. area: a share of the image uniform in `area`, its aspect log-uniform in [3/4, 4/3], anywhere; the largest
    centred box of an aspect allowed where ten tries give none that fits. centre: the middle after resizing.

    Args:
        size: Width and height of the original.
        augmentation: Which crop, and its ranges.
        resize: The shorter side for random crops where `sides` is 0 0.
        image_size: Side of the network's square.
        draws: CROP_DRAWS uniform numbers, this image's own.

    Raises:
        UsageError: a shorter side below image_size.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.1 (random, with sides); Krizhevsky et al. 2012,
    section 4.1 (random); Szegedy et al. 2014, arXiv:1409.4842, section 6 (area).
    """
    if augmentation.crop == "area":
        return _area_box(size, augmentation.area, draws.reshape(TRIES, 4))
    ranged = augmentation.crop == "random" and augmentation.sides != (0, 0)
    low, high = augmentation.sides if ranged else (resize, resize)
    rule = f"image_size (={image_size}) or more for --crop {augmentation.crop}"
    require("sides" if ranged else "resize", low, low >= image_size, rule)
    side = low + int(draws[0] * (high - low + 1))
    if augmentation.crop == "centre":
        return _square(size, side, image_size, None)
    return _square(size, side, image_size, (float(draws[1]), float(draws[2])))


def resized_crop(
    planes: NDArray[np.generic], box: Box, image_size: int, interpolation: Interpolation = "bilinear"
) -> NDArray[np.generic]:
    """The box of an image (h, w, c), to the nearest pixel, as a square of image_size, smoothed where it shrinks.

    By torch, whose kernel for 8 bits takes a third of Pillow's time and gives the same to within a level or two.
    """
    left, top, right, bottom = (round(edge) for edge in box)
    left, top = min(left, planes.shape[1] - 1), min(top, planes.shape[0] - 1)
    cut = planes[top : max(bottom, top + 1), left : max(right, left + 1)]
    if cut.shape[:2] == (image_size, image_size):
        return cut
    size = (image_size, image_size)
    found = F.interpolate(_as_batch(cut), size, mode=interpolation, align_corners=False, antialias=True)
    return found[0].permute(1, 2, 0).numpy()


def _as_batch(cut: NDArray[np.generic]) -> Tensor:
    """A box of an image as a batch of one that has its channels last, without a copy.

    Its first stride must say so, or torch takes the batch for one with its channels first, and copies twice.
    """
    cut = cut if cut.flags.writeable else cut.copy()  # torch warns of memory that it may not write
    height, width, channels = cut.shape
    row = cut.strides[0]
    return torch.from_numpy(cut).as_strided((1, channels, height, width), (height * row, 1, row, channels))


def _square(size: tuple[int, int], side: int, image_size: int, place: tuple[float, float] | None) -> Box:
    """A square of the image resized to `side`, at a place (down, right) from 0 to 1, or in the middle."""
    width, height = size
    factor = side / min(size)
    wide, high = max(side, round(width * factor)), max(side, round(height * factor))
    if place is None:
        left, top = (wide - image_size) // 2, (high - image_size) // 2
    else:
        top, left = (int(p * (room - image_size + 1)) for p, room in zip(place, (high, wide), strict=True))
    across, down = width / wide, height / high
    right, bottom = (left + image_size) * across, (top + image_size) * down
    return left * across, top * down, min(float(width), right), min(float(height), bottom)


def _area_box(size: tuple[int, int], area: tuple[float, float], draws: NDArray[np.float64]) -> Box:
    width, height = size
    low, high = (math.log(aspect) for aspect in ASPECTS)
    for share, shape, down, right in draws.tolist():
        pixels = width * height * (area[0] + share * (area[1] - area[0]))
        aspect = math.exp(low + shape * (high - low))
        wide, tall = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(right * (width - wide + 1)), int(down * (height - tall + 1))
            return float(left), float(top), float(left + wide), float(top + tall)
    return _largest(width, height)


def _largest(width: int, height: int) -> Box:
    """The largest box in the middle whose aspect lies between 3/4 and 4/3."""
    wide = max(1, min(width, round(height * ASPECTS[1])))
    tall = max(1, min(height, round(width / ASPECTS[0])))
    left, top = (width - wide) // 2, (height - tall) // 2
    return float(left), float(top), float(left + wide), float(top + tall)
