"""MNIST and Fashion-MNIST: idx files in torchvision's layout, `<data root>/<set>/raw/train-images-idx3-ubyte` etc."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import ArrayImages
from fovea.errors import DataError, MachineError
from fovea.files import write_durably

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SECONDS_TO_WAIT = 30
REMOVE = "remove it and run again with --download"
LARGEST_FILE = 200_000_000  # bytes; the largest of what is fetched, CIFAR-10's archive, has 170,052,171


@dataclass(frozen=True)
class IdxSet:
    """Where such a set lies, where it comes from, and the MD5 sums its publishers give."""

    folder: str
    address: str
    classes: tuple[str, ...]
    packed_sums: dict[str, str]  # of the .gz files
    unpacked_sums: dict[str, str]  # of the idx files; empty where nobody publishes them


MNIST = IdxSet(
    folder="MNIST",
    address="https://ossci-datasets.s3.amazonaws.com/mnist/",
    classes=tuple("0123456789"),
    packed_sums={
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    unpacked_sums={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
FASHION_MNIST = IdxSet(
    folder="FashionMNIST",
    address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    packed_sums={
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    unpacked_sums={},
)


def read(idx_set: IdxSet, split: str, root: Path, *, download: bool) -> tuple[ArrayImages, NDArray[np.int64]]:
    """The images and labels of "train" or "test".

    Raises:
        DataError: a file is missing (and how to get it), damaged, or does not fit its partner.
        MachineError: the download was asked for and failed.
    """
    folder = root / idx_set.folder / "raw"
    images, labels = (_read_file(idx_set, folder, name, download=download) for name in FILES[split])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(f"{folder}: {split} has images {images.shape} and labels {labels.shape}, which do not agree")
    if len(labels) and labels.max() >= len(idx_set.classes):
        raise DataError(f"{folder}: {split} has label {labels.max()}, but there are {len(idx_set.classes)} classes")
    return ArrayImages(images, f"{idx_set.folder}/{split}"), labels.astype(np.int64)


def parse(content: bytes, name: str) -> NDArray[np.uint8]:
    """An array from the bytes of an idx file of unsigned bytes.

    Raises:
        DataError: the header is none, or promises another size than there is.
    """
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    if content[:3] != b"\0\0\x08" or not 1 <= dimensions <= 4 or len(content) < start:
        raise DataError(f"{name}: is no idx file of bytes; its first bytes are {content[:4].hex() or 'none'}")
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    if len(content) - start != math.prod(shape):
        raise DataError(f"{name}: its header promises {math.prod(shape)} bytes, but {len(content) - start} follow")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_file(idx_set: IdxSet, folder: Path, name: str, *, download: bool) -> NDArray[np.uint8]:
    path, packed = folder / name, folder / f"{name}.gz"
    if not path.exists() and not packed.exists():
        if not download:
            raise DataError(
                f"{path}: is missing; give the folder that holds {idx_set.folder}/raw with --data-root or FOVEA_DATA, "
                f"or add --download"
            )
        download_file(idx_set.address + packed.name, packed, idx_set.packed_sums[name])
    if path.exists():
        content = bytes_of(path)
        check_sum(path, content, idx_set.unpacked_sums.get(name))
    else:
        content = _unpack(packed, idx_set.packed_sums[name])
    return parse(content, str(path))


def _unpack(packed: Path, expected: str) -> bytes:
    content = bytes_of(packed)
    check_sum(packed, content, expected)
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed}: cannot be unpacked ({error}); {REMOVE}") from error


def bytes_of(path: Path) -> bytes:
    """The content of a file of a published set.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def check_sum(place: Path | str, content: bytes, expected: str | None, advice: str = REMOVE) -> None:
    """Refuse what has another MD5 than the published one; nothing is refused where none is published.

    Raises:
        DataError: with both sums and the advice.
    """
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if expected is not None and found != expected:
        raise DataError(
            f"{place}: is damaged or another file: its MD5 is {found}, the published one {expected}; {advice}"
        )


def download_file(address: str, path: Path, expected: str) -> None:
    """Fetch a published file, check its MD5, and keep it.

    Raises:
        MachineError: it cannot be fetched or kept.
        DataError: it is another file.
    """
    import http.client
    import urllib.request

    try:
        with urllib.request.urlopen(address, timeout=SECONDS_TO_WAIT) as response:
            content = response.read(LARGEST_FILE + 1)
    except (OSError, http.client.HTTPException) as error:
        raise MachineError(f"{address}: cannot be downloaded ({error}); put the file at {path} by hand") from error
    check_sum(address, content, expected, f"try again, or put the file at {path} by hand")
    write_durably(path, content)
