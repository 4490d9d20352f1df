"""From a data set and what a network takes to fitted splits: one preprocessing for all of them."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from fovea.data.augmentation.components import Components, principal_components
from fovea.data.fitted import MEMORY_FOR_PIXELS, Fitted, fit_split, unpacked
from fovea.data.index import SPLITS
from fovea.data.options import Augmentation, Interpolation
from fovea.data.packing import packed
from fovea.data.preprocessing import LONGEST, Preprocessing, mean_image, measure
from fovea.data.remembered import Remembered, bytes_of
from fovea.data.sets import Chosen, Data, FileImages, Split
from fovea.errors import DataError, ShapeError
from fovea.randomness import key, permutation

IMAGES_TO_MEASURE = 4096  # where the split is too large to be packed
BATCH_TO_MEASURE = 64


def geometry(
    data: Data, *, image_size: int, in_channels: int, resize: int = 0, interpolation: Interpolation = "bilinear"
) -> Preprocessing:
    """How images of this data set come to the network's size; nothing is subtracted yet.

    Args:
        data: The data set.
        image_size: Side of the square that the network takes.
        in_channels: Channels that it takes.
        resize: What the shorter side becomes before the centre is cut; 0 is the network's size, except for a set that
            is padded by custom (MNIST).
        interpolation: How.

    Raises:
        ShapeError: channels that cannot become in_channels; a resize below the network's size.
    """
    if resize and resize < image_size:
        raise ShapeError(f"resize (={resize}) must be the network's image size (={image_size}) or more")
    if data.channels != in_channels and {data.channels, in_channels} != {1, 3}:
        raise ShapeError(
            f"{data.name} has {data.channels} channels, but the network takes in_channels={in_channels}; "
            f"only 1 and 3 turn into each other: build the network with in_channels={data.channels}"
        )
    own = data.image_size
    padded = own is not None and own <= image_size <= data.padded_below
    side = resize or (own if padded and own else image_size)
    return Preprocessing(image_size=image_size, resize=side, in_channels=in_channels, interpolation=interpolation)


class Wanted(NamedTuple):
    """What the recipe wants of the splits.

    Args:
        augmentation: How training images are varied: crops want the whole images, not fitted ones.
        moments: Mean and standard deviation per channel, of pixels scaled to [0, 1]; one number stands for all
            channels; measured on the training images where None.
        mean_image: Measure the mean of each pixel instead of each channel.
        cache: The shorter side of the images in a packed cache on disk; 0 for none.
        workers: Threads that decode.
    """

    augmentation: Augmentation = Augmentation()
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    mean_image: bool = False
    cache: int = 0
    workers: int = 0


NOTHING = Wanted()


def prepare(data: Data, preprocessing: Preprocessing, wanted: Wanted = NOTHING) -> dict[str, Fitted]:
    """Every split at the network's size, with mean and deviation set, or measured on the training images.

    Args:
        data: The data set; it must have training and validation images.
        preprocessing: The geometry.
        wanted: What the recipe wants of it.

    Raises:
        DataError: no validation images; images that cannot be read.
        ShapeError: another number of means than channels.
        MachineError: a packed cache that cannot be written.
    """
    if data.train is None or data.validation is None:
        raise DataError(f"{data.name}: there are no validation images, which choose the best epoch; change --split")
    if np.asarray(data.train.images[0]).dtype != np.uint8:
        preprocessing = dataclasses.replace(preprocessing, scale=1.0)
    splits = [split for name in SPLITS if (split := getattr(data, name)) is not None]
    fitted = {split.name: _fitted(split, preprocessing, wanted) for split in splits}
    mean, std = _moments(fitted["train"], wanted)
    final = dataclasses.replace(preprocessing, mean=mean, std=std)
    return {name: dataclasses.replace(split, preprocessing=final) for name, split in fitted.items()}


def _fitted(split: Split, spec: Preprocessing, wanted: Wanted) -> Fitted:
    """Packed where it may be; training images that are cropped anew each time come from as near as they can."""
    images = split.images
    cropped = split.name == "train" and wanted.augmentation.crop != "centre"
    if wanted.cache and isinstance(images, FileImages) and (cropped or _same(images, spec, wanted.cache)):
        images = packed(images, wanted.cache, workers=wanted.workers)
    split = dataclasses.replace(split, images=images)
    if not cropped:
        return fit_split(split, spec, workers=wanted.workers)
    if isinstance(images, FileImages) and bytes_of(images) <= MEMORY_FOR_PIXELS:
        split = dataclasses.replace(split, images=Remembered(images))
    return unpacked(split, spec, workers=wanted.workers)


def _same(images: FileImages, spec: Preprocessing, side: int) -> bool:
    """Whether fitting the cached images gives the very pixels that fitting the files gives."""
    widths, heights = images.index.widths[images.rows], images.index.heights[images.rows]
    longest = np.maximum(widths, heights) <= LONGEST * np.minimum(widths, heights)
    return spec.resize == side and spec.interpolation == "bilinear" and spec.in_channels == 3 and bool(longest.all())


def _moments(train: Fitted, wanted: Wanted) -> tuple[tuple[float, ...], tuple[float, ...]]:
    spec = train.preprocessing
    if wanted.moments is not None:
        return _per_channel(wanted.moments, spec)
    pixels = sample(train)
    mean, std = measure(pixels, spec.scale)
    return (mean_image(pixels, spec.scale) if wanted.mean_image else mean), std


def sample(train: Fitted) -> Shaped[Tensor, "n c s s"]:
    """The fitted training images, or a fixed choice of them where they are not packed."""
    if train.packed is not None:
        return train.packed
    chosen = np.sort(permutation(key(0, "measure"), len(train))[:IMAGES_TO_MEASURE])
    whole = dataclasses.replace(train, images=Chosen(train.images, chosen), labels=train.labels[chosen])
    return torch.cat(list(whole.batches(BATCH_TO_MEASURE)))


def components(train: Fitted, augmentation: Augmentation) -> Components | None:
    """The principal components of the training pixels' colours, where augmentation wants them."""
    if not augmentation.pca_noise:
        return None
    return principal_components(sample(train), train.preprocessing)


def _per_channel(
    moments: tuple[tuple[float, ...], tuple[float, ...]], preprocessing: Preprocessing
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = preprocessing.in_channels
    mean, std = (values * channels if len(values) == 1 else values for values in moments)
    if len(mean) != channels or len(std) != channels:
        raise ShapeError(f"mean {mean} and std {std} must have 1 or {channels} numbers, as the network's in_channels")
    return mean, std
