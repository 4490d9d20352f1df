"""The crops of published evaluation protocols: several views of one image, whose predictions are averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fovea import randomness
from fovea.data.preprocessing import Preprocessing
from fovea.errors import ShapeError, UsageError, suggestion

PROTOCOLS: Final = {"centre": 1, "flip": 2, "airbench_6": 6, "five": 5, "ten": 10, "googlenet_144": 144, "vgg_150": 150}
SCALES: Final = (8, 9, 10, 11)  # sevenths of the network's image: 256, 288, 320 and 352 where that is 224
VGG_SCALES: Final = (8, 12, 16)  # likewise 256, 384 and 512
VGG_GRID: Final = 5  # places of a square along each side


def views(image: NDArray[np.generic], spec: Preprocessing, protocol: str) -> NDArray[np.generic]:
    """A raw image (h, w) or (h, w, c) as several squares (k, in_channels, image_size, image_size).

    centre: what the specification fits. flip: this and its mirror image. airbench_6: this, the same moved a pixel down
    and right and a pixel up and left, the border reflected, and these mirrored. five: the resized image's corners (top
    left, top right, bottom left, bottom right) and centre. ten: these, then the same mirrored. googlenet_144: the
    shorter side resized to 256, 288, 320 and 352 pixels (in proportion for networks of another size than 224), of each
    size three squares along the longer side, of each square the corners, the centre and the whole resized, and all of
    these mirrored. vgg_150: the shorter side resized to 256, 384 and 512 pixels (in proportion), of each size a grid of
    5 by 5 squares over the whole image, and all of these mirrored.

    Args:
        image: 8 bits with 1 or 3 channels.
        spec: The network's preprocessing.
        protocol: A name in PROTOCOLS, which has the number k.

    Raises:
        UsageError: an unknown protocol.
        ShapeError: an image that cannot be fitted, or whose corners do not fill the square: resize below image_size.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1 (ten); Szegedy et al. 2014, arXiv:1409.4842, section 7;
    Simonyan and Zisserman 2014, arXiv:1409.1556, section 4.3 (vgg_150); Jordan 2024, arXiv:2404.00498, section 3.5
    (airbench_6).
    """
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}.{suggestion(protocol, PROTOCOLS)}"
        )
    return np.stack(_TAKEN[protocol](spec.channelled(image), spec)).transpose(0, 3, 1, 2)


def random_views(
    image: NDArray[np.generic], spec: Preprocessing, count: int, *, seed: int, index: int
) -> NDArray[np.generic]:
    """A raw image as `count` random squares of the resized image, each mirrored or not: (count, c, size, size).

    Args:
        image: 8 bits with 1 or 3 channels, (h, w) or (h, w, c).
        spec: The network's preprocessing.
        count: Views wanted.
        seed: What places and mirrors are drawn from.
        index: The image's place in its set: the same image has the same views in any order and any batch.

    Raises:
        ShapeError: an image that cannot be fitted, or resized below image_size.
    """
    whole = _resized(spec.channelled(image), spec)
    key, size = randomness.key(seed, "random views", index), spec.image_size
    rooms = [length - size + 1 for length in whole.shape[:2]]
    squares = []
    for y, x, mirror in randomness.uniforms(key, np.arange(count), 3):
        top, left = (int(draw * room) for draw, room in zip((y, x), rooms, strict=True))
        square = whole[top : top + size, left : left + size]
        squares.append(square[:, ::-1] if mirror < 0.5 else square)
    return np.stack(squares).transpose(0, 3, 1, 2)


def _resized(planes: NDArray[np.generic], spec: Preprocessing) -> NDArray[np.generic]:
    """The resized image, of which squares can be taken."""
    if spec.resize < spec.image_size:
        raise ShapeError(
            f"corners of an image resized to {spec.resize} do not fill the network's {spec.image_size} pixels; "
            f"resize to {spec.image_size} or more, or use the centre view"
        )
    return _at_side(planes, spec.resize, spec)


def _airbench(planes: NDArray[np.generic], spec: Preprocessing) -> list[NDArray[np.generic]]:
    middle = spec.fit(planes).transpose(1, 2, 0)
    padded = np.pad(middle, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return _with_mirrored([middle, padded[:-2, :-2], padded[2:, 2:]])


def _five(planes: NDArray[np.generic], spec: Preprocessing) -> list[NDArray[np.generic]]:
    whole = _resized(planes, spec)
    return [*_corners(whole, spec.image_size), _centre(whole, spec.image_size)]


def _googlenet(planes: NDArray[np.generic], spec: Preprocessing) -> list[NDArray[np.generic]]:
    found: list[NDArray[np.generic]] = []
    for sevenths in SCALES:
        side = round(spec.image_size * sevenths / 7)
        whole = _at_side(planes, side, spec)
        for square in _along(whole, side):
            found += [*_corners(square, spec.image_size), _centre(square, spec.image_size)]
            found += [_at_side(square, spec.image_size, spec)]
    return _with_mirrored(found)


def _vgg(planes: NDArray[np.generic], spec: Preprocessing) -> list[NDArray[np.generic]]:
    found: list[NDArray[np.generic]] = []
    for sevenths in VGG_SCALES:
        whole = _at_side(planes, round(spec.image_size * sevenths / 7), spec)
        rooms = [length - spec.image_size for length in whole.shape[:2]]
        tops, lefts = (np.linspace(0, room, VGG_GRID).round().astype(int) for room in rooms)
        found += [whole[y : y + spec.image_size, x : x + spec.image_size] for y in tops for x in lefts]
    return _with_mirrored(found)


def _with_mirrored(squares: list[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    return squares + [square[:, ::-1] for square in squares]


def _corners(planes: NDArray[np.generic], size: int) -> list[NDArray[np.generic]]:
    """Top left, top right, bottom left, bottom right."""
    height, width = planes.shape[:2]
    return [planes[y : y + size, x : x + size] for y in (0, height - size) for x in (0, width - size)]


def _centre(planes: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    top, left = ((length - size) // 2 for length in planes.shape[:2])
    return planes[top : top + size, left : left + size]


def _along(planes: NDArray[np.generic], side: int) -> list[NDArray[np.generic]]:
    """Squares at the beginning, in the middle and at the end of the longer side."""
    corners = _corners(planes, side)
    return [corners[0], _centre(planes, side), corners[3]]


def _at_side(planes: NDArray[np.generic], side: int, spec: Preprocessing) -> NDArray[np.generic]:
    """The image with its shorter side brought to `side` pixels, as the specification would."""
    if min(planes.shape[:2]) == side:
        return planes
    return dataclasses.replace(spec, resize=side).rescaled(planes)


_TAKEN: Final[dict[str, Callable[[NDArray[np.generic], Preprocessing], list[NDArray[np.generic]]]]] = {
    "centre": lambda planes, spec: [spec.fit(planes).transpose(1, 2, 0)],
    "flip": lambda planes, spec: _with_mirrored([spec.fit(planes).transpose(1, 2, 0)]),
    "airbench_6": _airbench,
    "five": _five,
    "ten": lambda planes, spec: _with_mirrored(_five(planes, spec)),
    "googlenet_144": _googlenet,
    "vgg_150": _vgg,
}
