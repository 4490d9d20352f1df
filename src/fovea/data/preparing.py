"""From a data set and what a network takes to fitted splits: one preprocessing for all of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fovea.data.loader import Fitted, fit_split
from fovea.data.preprocessing import Preprocessing, measure
from fovea.data.sets import SPLITS, Data
from fovea.errors import DataError, ShapeError
from fovea.randomness import key, permutation

IMAGES_TO_MEASURE = 4096  # where the split is too large to be packed


def geometry(data: Data, *, image_size: int, in_channels: int) -> Preprocessing:
    """How images of this data set come to the network's size; nothing is subtracted yet.

    Images are resized so that the shorter side fits, except those of a set that is padded by custom (MNIST).

    Raises:
        ShapeError: channels that cannot become in_channels.
    """
    if data.channels != in_channels and {data.channels, in_channels} != {1, 3}:
        raise ShapeError(
            f"{data.name} has {data.channels} channels, but the network takes in_channels={in_channels}; "
            f"only 1 and 3 turn into each other: build the network with in_channels={data.channels}"
        )
    own = data.image_size
    padded = own is not None and own <= image_size <= data.padded_below
    return Preprocessing(image_size=image_size, resize=own if padded and own else image_size, in_channels=in_channels)


def prepare(
    data: Data,
    preprocessing: Preprocessing,
    *,
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    workers: int = 0,
) -> dict[str, Fitted]:
    """Every split at the network's size, with mean and deviation set, or measured on the training images.

    Args:
        data: The data set; it must have training and validation images.
        preprocessing: The geometry.
        moments: Mean and standard deviation per channel, of pixels scaled to [0, 1]; one number stands for all
            channels.
        workers: Threads that decode.

    Raises:
        DataError: no validation images; images that cannot be read.
        ShapeError: another number of means than channels.
    """
    if data.train is None or data.validation is None:
        raise DataError(f"{data.name}: there are no validation images, which choose the best epoch; change --split")
    if np.asarray(data.train.images[0]).dtype != np.uint8:
        preprocessing = dataclasses.replace(preprocessing, scale=1.0)
    splits = [split for name in SPLITS if (split := getattr(data, name)) is not None]
    fitted = {split.name: fit_split(split, preprocessing, workers=workers) for split in splits}
    mean, std = _per_channel(moments, preprocessing) if moments else _measured(fitted["train"])
    final = dataclasses.replace(preprocessing, mean=mean, std=std)
    return {name: dataclasses.replace(split, preprocessing=final) for name, split in fitted.items()}


def _per_channel(
    moments: tuple[tuple[float, ...], tuple[float, ...]], preprocessing: Preprocessing
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = preprocessing.in_channels
    mean, std = (values * channels if len(values) == 1 else values for values in moments)
    if len(mean) != channels or len(std) != channels:
        raise ShapeError(f"mean {mean} and std {std} must have 1 or {channels} numbers, as the network's in_channels")
    return mean, std


def _measured(train: Fitted) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if train.packed is not None:
        return measure(train.packed, train.preprocessing.scale)
    sample = np.sort(permutation(key(0, "measure"), len(train))[:IMAGES_TO_MEASURE])
    return measure(train.gather(sample), train.preprocessing.scale)
