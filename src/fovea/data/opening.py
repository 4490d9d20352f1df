"""One way in: whatever names or holds a data set becomes `Data`."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fovea.data.names import KNOWN, check_source
from fovea.data.sets import ArrayImages, Chosen, Data, Images, Split, check_classes
from fovea.data.sources import digits, folder, idx
from fovea.data.splits import Fractions, parse_fractions, stratified
from fovea.errors import DataError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

FOLDER_SPLIT: Fractions = (0.8, 0.1, 0.1)
ARRAY_SPLIT: Fractions = (0.9, 0.1, 0.0)
MNIST_SPLIT: Fractions = (11 / 12, 1 / 12, 0.0)  # 55,000 and 5,000 of the 60,000
LARGEST_DATASET = 4 << 30  # bytes of pixels read into memory from somebody else's Dataset


def open_data(
    source: str | Path | Data | tuple[Any, Any] | Dataset[Any],
    *,
    split: str | None = None,
    split_seed: int = 42,
    data_root: str | Path | None = None,
    download: bool = False,
    classes: Sequence[str] | None = None,
) -> Data:
    """A data set from its name, its folder, arrays, or any torch Dataset.

    Args:
        source: "digits", "mnist" or "fashion_mnist"; a folder root/{train,val,test}/<class>/* or root/<class>/*;
            a pair (images, labels) of arrays or tensors, images (N, H, W), (N, H, W, C) or, as a torch tensor,
            (N, C, H, W); or a torch Dataset that gives (image, label) pairs, which is read once into memory.
            `Data` is given back as it is.
        split: Fractions of train, validation and test as "0.8/0.1/0.1", for what is not split already; where only
            the test images stand apart, train and validation share as the first two say.
        split_seed: Cuts the splits; apart from a run's seed, so that runs of different seeds share their test images.
        data_root: Where the named sets lie; else the environment's FOVEA_DATA, else ~/.cache/fovea/data.
        download: Fetch a named set that is not there.
        classes: Class names for arrays and Datasets; the labels as text where None.

    Raises:
        UsageError: no data set is called so, and no folder either.
        DataError: a set that cannot be used, with counts and places.
    """
    fractions = None if split is None else parse_fractions(split)
    if isinstance(source, Data):
        return source
    if isinstance(source, tuple):
        if len(source) != 2:
            raise DataError(f"a tuple of {len(source)} was given; arrays come as the pair (images, labels)")
        return _from_arrays(*source, fractions or ARRAY_SPLIT, split_seed, classes)
    if not isinstance(source, str | Path):
        return _from_arrays(*_read_dataset(source), fractions or ARRAY_SPLIT, split_seed, classes)
    check_source(source)
    if source == "digits":
        images, labels = digits.read()
        parts = _cut(images, labels, digits.CLASSES, fractions or digits.SPLIT, split_seed)
        again = {"source": "digits", "split": split, "split_seed": split_seed}
        return Data(name="digits", classes=digits.CLASSES, channels=1, image_size=8, source=again, **parts)
    if source in KNOWN:
        root = Path(data_root or os.environ.get("FOVEA_DATA") or Path.home() / ".cache/fovea/data").absolute()
        again = {"source": str(source), "split": split, "split_seed": split_seed, "data_root": str(root)}
        data = _from_idx(str(source), root, fractions or MNIST_SPLIT, split_seed, download=download)
        return dataclasses.replace(data, source=again)
    again = {"source": str(Path(source).absolute()), "split": split, "split_seed": split_seed}
    return dataclasses.replace(_from_folder(Path(source), fractions or FOLDER_SPLIT, split_seed), source=again)


def _from_idx(name: str, root: Path, fractions: Fractions, seed: int, *, download: bool) -> Data:
    idx_set = {"mnist": idx.MNIST, "fashion_mnist": idx.FASHION_MNIST}[name]
    train_images, train_labels = idx.read(idx_set, "train", root, download=download)
    test_images, test_labels = idx.read(idx_set, "test", root, download=download)
    parts = _cut(train_images, train_labels, idx_set.classes, _without_test(fractions), seed)
    parts["test"] = Split("test", test_images, test_labels, idx_set.classes)
    # 28 pixels in LeNet-5's 32 are padded, as the paper has it, not enlarged.
    return Data(name=name, classes=idx_set.classes, channels=1, image_size=28, padded_below=32, **parts)


def _from_folder(root: Path, fractions: Fractions, seed: int) -> Data:
    if not root.is_dir():
        raise DataError(f"{root}: is a file, not a folder of images; expected root/<class>/<image>")
    root = root.resolve()
    folders = folder.split_folders(root)
    classes = folder.class_names(folders.get("train", root))
    images, labels = folder.listing(folders.get("train", root), classes)
    check_classes(str(root), Split("train", images, labels, classes))
    if not folders:
        parts = _cut(images, labels, classes, fractions, seed)
    elif "validation" in folders:
        parts = _cut(images, labels, classes, (1.0, 0.0, 0.0), seed)
        parts["validation"] = Split("validation", *folder.listing(folders["validation"], classes), classes)
    else:
        parts = _cut(images, labels, classes, _without_test(fractions), seed)
    if "test" in folders:
        parts["test"] = Split("test", *folder.listing(folders["test"], classes), classes)
    for name, part in parts.items():
        if part is not None and len(part) == 0:
            raise DataError(f"{root}: the {name} folder holds no image")
    return Data(name=root.name, classes=classes, channels=3, **parts)


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
        raise DataError("images hold NaN or infinity; mend them first")
    return ArrayImages(array, "images"), indices.astype(np.int64)


def _from_arrays(images: Any, labels: Any, fractions: Fractions, seed: int, classes: Sequence[str] | None) -> Data:
    stored, indices = images_of_arrays(images, labels)
    names = tuple(map(str, range(int(indices.max()) + 1))) if classes is None else tuple(classes)
    if indices.max() >= len(names):
        raise DataError(f"label {indices.max()} is beyond the {len(names)} classes; labels count from 0")
    parts = _cut(stored, indices, names, fractions, seed)
    height, width = stored.array.shape[1:3]
    channels = stored.array.shape[3] if stored.array.ndim == 4 else 1
    side = height if height == width else None
    return Data(name="arrays", classes=names, channels=channels, image_size=side, **parts)


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


def _read_dataset(dataset: Any) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
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


def _cut(
    images: Images, labels: NDArray[np.int64], classes: tuple[str, ...], fractions: Fractions, seed: int
) -> dict[str, Any]:
    names = ("train", "validation", "test")
    check_classes(getattr(images, "prefix", "data"), Split("train", images, labels, classes))
    parts = stratified(labels, fractions, seed)
    check_classes("the training split", Split("train", Chosen(images, parts[0]), labels[parts[0]], classes))
    return {
        name: Split(name, Chosen(images, part), labels[part], classes) if len(part) else None
        for name, part in zip(names, parts, strict=True)
    }


def _without_test(fractions: Fractions) -> Fractions:
    whole = fractions[0] + fractions[1]
    return fractions[0] / whole, fractions[1] / whole, 0.0
