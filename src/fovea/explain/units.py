"""The images of a data set that excite a unit most, cut to the part that it sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.cost.receptive_field import IMAGE, Field
from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.errors import DataError, NumbersError, require
from fovea.explain.aims import unit_of
from fovea.explain.fields import fields_of
from fovea.explain.places import Place, place_of
from fovea.explain.reaching import reach
from fovea.explain.untouched import untouched
from fovea.runtime.model import Model, by_batch

TOP = 9


class Exciting(NamedTuple):
    """One image that excites a unit.

    Args:
        row: In the split.
        name: Of the image.
        label: Its class.
        activation: The unit's largest.
        box: What the unit sees there: first and last row, first and last column of pixels, the last ones excluded.
        crop: That part of the image as the network sees it, 8-bit.
    """

    row: int
    name: str
    label: str
    activation: float
    box: tuple[int, int, int, int]
    crop: NDArray[np.uint8]


class Excited(NamedTuple):
    """What excites one channel of a place most.

    Args:
        channel: Which.
        images: The most exciting first; of equal ones (ReLU6 ends at 6) the one with the larger mean over its places,
            then the earlier in the split.
    """

    channel: int
    images: tuple[Exciting, ...]


class Units(NamedTuple):
    """What excites the units of a place.

    Args:
        place: Its name.
        field: Height and width in pixels of what a unit sees; None where it sees the whole image, or nobody knows.
        units: One by one.
        looked_at: How many images.
        known: Whether what a unit sees could be followed; where not, its patches are whole images.
    """

    place: str
    field: tuple[int, int] | None
    units: tuple[Excited, ...]
    looked_at: int
    known: bool = True

    @property
    def sees(self) -> str:
        """What a unit sees, in words."""
        if not self.known:
            return "nobody knows which part of the image"
        return "the whole image" if self.field is None else f"{self.field[0]}×{self.field[1]} pixels"

    def __str__(self) -> str:
        lines = [f"{self.place}, of {self.looked_at:,} images; a unit sees {self.sees}"]
        for unit in self.units:
            labels = ", ".join(each.label for each in unit.images)
            lines.append(f"  unit {unit.channel}: {unit.images[0].activation:.4g} and less; {labels}")
        return "\n".join(lines)


def units(
    model: Model, split: Split, *, layer: str | None = None, channels: Sequence[int] = (), top: int = TOP
) -> Units:
    """Look through a split for the images that excite units most, in one pass that keeps no maps.

    Args:
        model: It runs in evaluation mode and is afterwards as it was.
        split: The images.
        layer: A stage or a module's path; the last whose maps have places where None.
        channels: Which units; the first nine where none is named.
        top: Images of each.

    Raises:
        UsageError: no such layer or channel.
        DataError: no image.
        NumbersError: activations that are NaN or infinite.

    Source: Zeiler and Fergus 2013, arXiv:1311.2901, Figure 2.
    """
    require("top", top, top >= 1, "1 or more")
    if not len(split):
        raise DataError(f"{split.name} holds no image to look at")
    spec, network = model.bundle.preprocessing, model.network
    fitted = Fitted(split.images, torch.from_numpy(split.labels), spec, None, workers=os.cpu_count() or 1)
    with untouched(network):
        place = place_of(network, spec.normalise(fitted.gather(np.arange(1)).to(model.device)), layer)
        wanted = [unit_of(place, channel).channel for channel in channels or range(min(TOP, place.shape[0]))]
        largest, means, where = _largest(model, fitted, place, wanted)
        images = (spec.in_channels, spec.image_size)
        field = fields_of(network, [place.module], images)[0] if place.maps else IMAGE
    found = []
    for column, channel in enumerate(wanted):
        order = np.lexsort((-means[:, column], -largest[:, column]))[: min(top, len(split))]
        boxes = [_box(field, place, int(where[row, column]), spec.image_size) for row in order]
        found.append(Excited(channel, _cut(split, fitted, order, boxes, largest[order, column])))
    sides = (int(field.axes[0].size), int(field.axes[1].size)) if field.axes else None
    return Units(place.name, sides, tuple(found), len(split), field.known)


def _largest(
    model: Model, fitted: Fitted, place: Place, channels: Sequence[int]
) -> tuple[Float32[NDArray[np.float32], "n u"], Float32[NDArray[np.float32], "n u"], Int[NDArray[np.int64], "n u"]]:
    """Of each image and channel the largest activation, the mean, and the first place of the largest."""
    read = reach(model.network, place)

    def call(images: Tensor) -> list[Tensor]:
        numbers = read(images)[:, list(channels)].reshape(len(images), len(channels), -1)
        largest = numbers.max(2)
        return [largest.values, numbers.mean(2), largest.indices]

    parts = by_batch(call, model.network, fitted, model.device, model.batch_size).values()
    largest, means, where = (torch.cat([part[side] for part in parts]).numpy() for side in range(3))
    bad = ~np.isfinite(largest).all(1)
    if bad.any():
        raise NumbersError(
            f"{place.name} gives NaN or infinity for {fitted.told(np.flatnonzero(bad))}; look at the network's weights"
        )
    return largest, means, where.astype(np.int64)


def _cut(
    split: Split,
    fitted: Fitted,
    order: Int[NDArray[np.int64], "t"],
    boxes: Sequence[tuple[int, int, int, int]],
    activations: Float32[NDArray[np.float32], "t"],
) -> tuple[Exciting, ...]:
    spec = fitted.preprocessing
    pictures = spec.pictured(spec.normalise(fitted.gather(order)))
    return tuple(
        Exciting(
            row=int(row),
            name=split.images.name(int(row)),
            label=split.classes[int(split.labels[row])],
            activation=float(activation),
            box=box,
            crop=picture[box[0] : box[1], box[2] : box[3]],
        )
        for row, activation, box, picture in zip(order, activations, boxes, pictures, strict=True)
    )


def _box(field: Field, place: Place, position: int, side: int) -> tuple[int, int, int, int]:
    """Rows and columns of pixels that the unit at a position sees; at least one, of a unit that lies in the padding."""
    if not field.axes:
        return 0, side, 0, side
    spans = []
    for axis, step in zip(field.axes, divmod(position, place.shape[2]), strict=True):
        start = int(axis.start + step * axis.stride)
        first = min(max(0, start), side - 1)
        spans += [first, max(first + 1, min(side, start + int(axis.size)))]
    return spans[0], spans[1], spans[2], spans[3]
