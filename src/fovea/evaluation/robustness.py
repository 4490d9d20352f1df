"""How accuracy falls as images are shifted, turned, scaled or corrupted: changes made on the fly, and their curves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fovea.data.sets import Images, Split
from fovea.errors import DataError, UsageError, require, suggestion
from fovea.evaluation.corruptions import KINDS, SEVERITIES, corrupted
from fovea.evaluation.judge import matched_labels
from fovea.evaluation.metrics import predicted, wilson_interval
from fovea.runtime.model import Predicts

CHANGES = (*KINDS, "shift", "rotation", "scale")
LARGEST_SCALE = 4  # up to it, and down to its inverse
LARGEST_SHIFT = 10_000  # pixels
DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1))  # right, left, up, down, as (x, y) with y downwards

Change = Callable[[NDArray[np.generic], int], NDArray[np.generic]]


@dataclass(frozen=True)
class Changed:
    """The images of a set, each changed when it is asked for.

    Args:
        images: The set.
        change: From an image and its place in the set to the changed image; of nothing else may it depend.
        label: What the change is, with every option, by which fingerprints differ: "shift 3 right".
    """

    images: Images
    change: Change
    label: str

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        return self.change(self.images[index], index)

    def name(self, index: int) -> str:
        """The unchanged image's name."""
        return self.images.name(index)

    def fingerprint(self) -> str:
        """SHA-256 over the set's fingerprint and the label."""
        return hashlib.sha256(f"{self.images.fingerprint()} {self.label}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy against the strength of one change.

    Args:
        change: One of `CHANGES`.
        images: How many images were judged at each value.
        values: The strengths, in the order asked for.
        top1: At each value, the fraction of answers that are right, in [0, 1].
        intervals: Their 95 % Wilson intervals. Where a value means several changed images (four directions, two
            senses of rotation) all answers count in `top1`, but the interval is one of as many answers as there are
            images: answers about the same image go together, and to count them as independent would promise up to
            twice the precision there is. It is rather too wide than too narrow.
        mean_agreement: At each value, the fraction of answers equal to the answer at the unchanged image, right or
            wrong; 1 for a model that the change does not touch.
    """

    change: str
    images: int
    values: tuple[float, ...]
    top1: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    mean_agreement: tuple[float, ...]

    def __str__(self) -> str:
        rows = zip(self.values, self.top1, self.intervals, self.mean_agreement, strict=True)
        return "\n".join(
            f"{self.change} {value:g}: top-1 accuracy {top1:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"answers as unchanged {same:.2%}"
            for value, top1, (low, high), same in rows
        )


def curve(
    model: Predicts, split: Split, change: str, values: Sequence[float | int], *, seed: int = 0, fill: int | None = None
) -> Curve:
    """Judge a model on ever more changed images.

    Args:
        model: What predicts; unchanged images are predicted once, whatever the values.
        split: The images with their labels.
        change: A corruption of `KINDS` (values are severities, 0 leaves the image as it is); "shift" (whole pixels, in
            each of the four directions); "rotation" (degrees from 0 to 180, in both senses); "scale" (factors from
            1/4 to 4, about the centre).
        values: The strengths; `default_values` has sensible ones.
        seed: What corruptions are drawn from.
        fill: What stands where a shift, a rotation or a scale leaves the image empty; None repeats its edge.

    Raises:
        UsageError: an unknown change, no value, or one that the change does not take.
        DataError: the split has no image, a class that the model does not know, or images that are not bytes and are
            to be corrupted.

    Source: for corruptions Hendrycks and Dietterich 2019, arXiv:1903.12261; for shifts Azulay and Weiss 2019,
    arXiv:1805.12177, and Zhang 2019, arXiv:1904.11486, whose consistency is close to the agreement.
    """
    require("values", "none", len(values) > 0, "one value or more")
    variants = [changed_images(split.images, change, value, seed=seed, fill=fill) for value in values]
    if len(split) == 0:
        raise DataError(f"the {split.name} split has no image to judge on; choose another split")
    labels = matched_labels(split, model.classes)
    unchanged = predicted(model.logits(split.images))
    top1, intervals, agreement = [], [], []
    for several in variants:
        answers = [predicted(model.logits(images)) for images in several] or [unchanged]
        right = _equal(answers, labels)
        top1.append(right / (len(answers) * len(split)))
        intervals.append(_interval(right, len(answers), len(split)))
        agreement.append(_equal(answers, unchanged) / (len(answers) * len(split)))
    return Curve(
        change=change,
        images=len(split),
        values=tuple(map(float, values)),
        top1=tuple(top1),
        intervals=tuple(intervals),
        mean_agreement=tuple(agreement),
    )


def changed_images(
    images: Images, change: str, value: float | int, *, seed: int = 0, fill: int | None = None
) -> tuple[Changed, ...]:
    """The sets that one value of a change means: four for a shift, two for a rotation, else one; none for no change.

    Args:
        images: The unchanged images.
        change: As `curve`.
        value: One of its values.
        seed: As `curve`.
        fill: As `curve`.

    Raises:
        UsageError: an unknown change, or a value that it does not take.
    """
    if change not in CHANGES:
        raise UsageError(f"unknown change {change!r}; choose from {', '.join(CHANGES)}.{suggestion(change, CHANGES)}")
    if change in KINDS:
        severe = value in range(SEVERITIES + 1)
        require(f"severity of {change}", value, severe, f"a whole number from 0 to {SEVERITIES}")
        made: list[Change] = [partial(_corrupt, kind=change, severity=int(value), seed=seed)] if value else []
        return tuple(Changed(images, each, f"{change} {value:g}, seed {seed}") for each in made)
    if change == "shift":
        whole = 0 <= value <= LARGEST_SHIFT and float(value).is_integer()
        require("shift", value, whole, f"a whole number of pixels from 0 to {LARGEST_SHIFT:,}")
        ways = [partial(shifted, dx=int(value) * x, dy=int(value) * y, fill=fill) for x, y in DIRECTIONS]
        made = [partial(_move, way=way) for way in ways] if value else []
    elif change == "rotation":
        require("rotation", value, 0 <= value <= 180, "from 0 to 180 degrees")
        turns = [partial(rotated, degrees=sign * value, fill=fill) for sign in (1, -1)]
        made = [partial(_move, way=turn) for turn in turns] if value else []
    else:
        made = [partial(_move, way=partial(scaled, factor=_checked_factor(value), fill=fill))] if value != 1 else []
    label = f"{change} {float(value)!r}, fill {fill}, way"
    return tuple(Changed(images, each, f"{label} {place}") for place, each in enumerate(made))


def default_values(change: str, image_size: int) -> tuple[float, ...]:
    """Values that show a change from nothing to where most models fail.

    Args:
        change: One of `CHANGES`.
        image_size: The shorter side of the images in pixels; shifts go to a quarter of it.

    Raises:
        UsageError: an unknown change, or no pixel.
    """
    require("image_size", image_size, image_size > 0, "1 pixel or more")
    if change in KINDS:
        return tuple(map(float, range(SEVERITIES + 1)))
    if change == "shift":
        farthest = image_size // 4
        step = math.ceil(farthest / 8) | 1  # odd: multiples of a network's stride would hide what strides do
        return tuple(map(float, range(0, farthest + 1, step)))
    if change == "rotation":
        return (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0)
    if change == "scale":
        return (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
    raise UsageError(f"unknown change {change!r}; choose from {', '.join(CHANGES)}.{suggestion(change, CHANGES)}")


def shifted(image: NDArray[np.generic], dx: int, dy: int, *, fill: int | None = None) -> NDArray[np.generic]:
    """An image moved by whole pixels, of the same size: what leaves it is lost.

    Args:
        image: (h, w) or (h, w, c).
        dx: Pixels to the right; to the left where negative.
        dy: Pixels down; up where negative.
        fill: What stands where nothing came from: 0 for the black ground of MNIST; None repeats the nearest pixel.

    Raises:
        UsageError: the fill is no byte, and the image is of bytes.
    """
    _check_fill(image, fill)
    height, width = image.shape[:2]
    rows, columns = np.arange(height) - dy, np.arange(width) - dx
    moved: NDArray[np.generic] = image[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]
    if fill is not None:
        moved[(rows < 0) | (rows >= height)] = fill
        moved[:, (columns < 0) | (columns >= width)] = fill
    return moved


def rotated(image: NDArray[np.generic], degrees: float | int, *, fill: int | None = None) -> NDArray[np.generic]:
    """An image turned anticlockwise about its centre, of the same size, bilinear; `fill` as `shifted`."""
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    return _resampled(image, (cosine, -sine, sine, cosine), fill)


def scaled(image: NDArray[np.generic], factor: float | int, *, fill: int | None = None) -> NDArray[np.generic]:
    """What the image shows made larger (above 1) or smaller about its centre, in the same size; `fill` as `shifted`.

    Bilinear, without the blur that would keep fine patterns from turning into coarse ones below one half.

    Raises:
        UsageError: the factor is not between 1/4 and 4.
    """
    inverse = 1 / _checked_factor(factor)
    return _resampled(image, (inverse, 0.0, 0.0, inverse), fill)


def _resampled(
    image: NDArray[np.generic], matrix: tuple[float, float, float, float], fill: int | None
) -> NDArray[np.generic]:
    """Each pixel from where the matrix (row by row, of x and y about the centre) says that it was."""
    from PIL import Image  # slow to load

    _check_fill(image, fill)
    height, width = image.shape[:2]
    xx, xy, yx, yy = matrix
    # Pillow knows no repeated edge and cuts a filled one hard; so the image is first widened by all that is looked at.
    reach = (abs(yx) * width + abs(yy) * height - height, abs(xx) * width + abs(xy) * height - width)
    down, right = (max(0, math.ceil(each / 2)) + 1 for each in reach)
    widths = ((down, down), (right, right), (0, 0))
    planes = image[:, :, None] if image.ndim == 2 else image
    wide = np.pad(planes, widths, "edge") if fill is None else np.pad(planes, widths, constant_values=fill)
    from_x = width / 2 + right - xx * width / 2 - xy * height / 2
    from_y = height / 2 + down - yx * width / 2 - yy * height / 2
    moved = [
        Image.fromarray(np.ascontiguousarray(wide[:, :, channel], np.float32)).transform(
            (width, height), Image.Transform.AFFINE, (xx, xy, from_x, yx, yy, from_y), Image.Resampling.BILINEAR
        )
        for channel in range(wide.shape[2])
    ]  # as floats: of bytes Pillow would drop the fraction, and images would darken
    found = np.stack([np.asarray(each) for each in moved], axis=2)
    whole = np.rint(found) if np.issubdtype(image.dtype, np.integer) else found
    return whole.astype(image.dtype).reshape(image.shape)


def _checked_factor(factor: float | int) -> float | int:
    holds = 1 / LARGEST_SCALE <= factor <= LARGEST_SCALE
    require("scale", factor, holds, f"from 1/{LARGEST_SCALE} to {LARGEST_SCALE}")
    return factor


def _check_fill(image: NDArray[np.generic], fill: int | None) -> None:
    fits = fill is None or image.dtype != np.uint8 or 0 <= fill <= 255
    require("fill", fill, fits, "from 0 to 255 for images of bytes")


def _corrupt(image: NDArray[np.generic], index: int, *, kind: str, severity: int, seed: int) -> NDArray[np.generic]:
    return corrupted(image, kind, severity, seed=seed, index=index)


def _move(
    image: NDArray[np.generic], _: int, *, way: Callable[[NDArray[np.generic]], NDArray[np.generic]]
) -> NDArray[np.generic]:
    return way(image)


def _equal(answers: list[Tensor], expected: Tensor) -> int:
    return sum(int((each == expected).sum()) for each in answers)


def _interval(right: int, answers: int, images: int) -> tuple[float, float]:
    """Wilson's interval of `images` answers of which the same fraction is right, rounded outwards to a whole answer."""
    low, _ = wilson_interval(right // answers, images)
    _, high = wilson_interval(-(-right // answers), images)
    return low, high
