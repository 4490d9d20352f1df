"""Arrays, tensors and other people's Datasets as images and labels, checked once at the door."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import ArrayImages
from fovea.errors import DataError

LARGEST_DATASET = 4 << 30  # bytes of pixels read into memory from somebody else's Dataset
NAMED = 5  # places that a message names


def images_of_arrays(images: Any, labels: Any) -> tuple[ArrayImages, NDArray[np.int64]]:
    """Arrays or tensors as images and class indices, checked.

    Raises:
        DataError: shapes, types or values that cannot be used.
    """
    array, indices = _images_array(images), _array(labels, "labels")
    if indices.ndim != 1 or len(array) != len(indices):
        raise DataError(f"images {array.shape} and labels {indices.shape} do not agree on the number of images")
    if len(indices) == 0 or not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0:
        raise DataError(f"labels ({len(indices)} of type {indices.dtype}) must be class indices from 0, at least one")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).tolist()
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise DataError(f"images hold NaN or infinity at {', '.join(map(str, bad[:NAMED]))}{more}; mend them first")
    return ArrayImages(array, "images"), indices.astype(np.int64)


def _images_array(images: Any) -> NDArray[np.generic]:
    import torch

    if isinstance(images, torch.Tensor):
        images = images.permute(0, 2, 3, 1) if images.ndim == 4 else images
        images = images.float() if images.is_floating_point() else images  # NumPy knows no bfloat16
    array = _array(images, "images")
    if array.ndim not in (3, 4):
        raise DataError(f"images of shape {array.shape} must be (N, H, W), (N, H, W, C) or a tensor (N, C, H, W)")
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"images of type {array.dtype} must be uint8 (0 to 255) or floating point")
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def _array(values: Any, what: str) -> NDArray[np.generic]:
    values = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        return np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} differ in shape among themselves; bring them to one shape first") from error


def read_dataset(dataset: Any) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Every (image, label) pair of a torch Dataset, read once into memory.

    Raises:
        DataError: no Dataset of such pairs, images of different shapes, or more than fits.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise DataError(f"{type(dataset).__name__} has no length or no places; give a Dataset of (image, label) pairs")
    images: list[NDArray[np.generic]] = []
    labels: list[int] = []
    size = 0
    for position in range(len(dataset)):
        image, label = _pair(dataset[position], position)
        image = _images_array(image[None])[0] if hasattr(image, "detach") else np.asarray(image)
        size += image.nbytes
        if images and image.shape != images[0].shape:
            raise DataError(f"image {position} has shape {image.shape}, the first {images[0].shape}; resize them alike")
        if size > LARGEST_DATASET:
            raise DataError(f"the Dataset is larger than {LARGEST_DATASET >> 30} GiB; give a folder of images instead")
        images.append(image)
        labels.append(label)
    if not images:
        raise DataError("the Dataset is empty")
    return np.stack(images), np.asarray(labels, np.int64)


def _pair(item: Any, position: int) -> tuple[Any, int]:
    try:
        image, label = item[:2]
        return image, operator.index(label)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"item {position} of the Dataset is no pair of an image and a class index, but a {type(item).__name__}"
        ) from error
