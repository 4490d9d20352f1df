"""The data sets that fovea knows by name, opened."""

from __future__ import annotations

from pathlib import Path

from fovea.data.cutting import Cut, cut_images
from fovea.data.sets import Data, Split
from fovea.data.sources import cifar, digits, idx
from fovea.data.splits import Fractions
from fovea.errors import DataError

MNIST_SPLIT: Fractions = (11 / 12, 1 / 12, 0.0)  # 55,000 and 5,000 of the 60,000
CIFAR_SPLIT: Fractions = (0.9, 0.1, 0.0)  # 45,000 and 5,000 of the 50,000, as the ResNet paper has it
SPLITS = {"mnist": MNIST_SPLIT, "fashion_mnist": MNIST_SPLIT, "cifar10": CIFAR_SPLIT, "cifar100": CIFAR_SPLIT}
IMAGENET_FOLDERS = ("imagenet", "ImageNet", "ILSVRC2012", "ILSVRC")


def open_known(name: str, root: Path, cut: Cut, *, download: bool) -> Data | Path:
    """A named set, cut; or the folder where it lies in files.

    Args:
        name: One of `names.KNOWN`.
        root: The folder in which the named sets lie.
        cut: How to cut it where nobody else did.
        download: Fetch it where it is not there, and where that is allowed.

    Raises:
        DataError: it is not there (and how to get it), damaged, or cannot be cut so.
        MachineError: the download was asked for and failed.
    """
    if name == "digits":
        parts = cut_images(*digits.read(), digits.CLASSES, cut.otherwise(digits.SPLIT))
        return Data(name=name, classes=digits.CLASSES, channels=1, image_size=8, **parts)
    if name in ("mnist", "fashion_mnist"):
        return _idx(name, root, accustomed(name, cut), download=download)
    if name in ("cifar10", "cifar100"):
        return _cifar(name, root, accustomed(name, cut), download=download)
    there = [root / folder for folder in IMAGENET_FOLDERS if (root / folder).is_dir()]
    if not there:
        raise DataError(
            f"{root}: holds no ImageNet, looked for under {', '.join(IMAGENET_FOLDERS)}; it has to be asked for at "
            f"image-net.org; then give its place with --data-root or FOVEA_DATA, or name its folder itself"
        )
    return there[0]


def accustomed(name: str, cut: Cut) -> Cut:
    """The cut, with the fractions that are the custom for a named set where none are asked for."""
    return cut.otherwise(SPLITS[name]) if name in SPLITS else cut


def _idx(name: str, root: Path, cut: Cut, *, download: bool) -> Data:
    idx_set = idx.MNIST if name == "mnist" else idx.FASHION_MNIST
    train = idx.read(idx_set, "train", root, download=download)
    test = idx.read(idx_set, "test", root, download=download)
    parts = cut_images(*train, idx_set.classes, cut, in_train=True)
    parts["test"] = Split("test", *test, idx_set.classes)
    # 28 pixels in LeNet-5's 32 are padded, as the paper has it, not enlarged.
    return Data(name=name, classes=idx_set.classes, channels=1, image_size=28, padded_below=32, **parts)


def _cifar(name: str, root: Path, cut: Cut, *, download: bool) -> Data | Path:
    place = root / name
    cifar_set = cifar.CIFAR10 if name == "cifar10" else cifar.CIFAR100
    if place.is_dir() and not cifar.is_there(cifar_set, root):
        return place
    train, test, classes = cifar.read(cifar_set, root, download=download)
    parts = cut_images(*train, classes, cut, in_train=True)
    parts["test"] = Split("test", *test, classes)
    return Data(name=name, classes=classes, channels=3, image_size=32, **parts)
