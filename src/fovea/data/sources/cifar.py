"""CIFAR-10 and CIFAR-100 as published: the binary layout, its .tar.gz, or the Python layout read without trusting it.

Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images".
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fovea.data.sets import ArrayImages
from fovea.data.sources.idx import bytes_of, check_sum, download_file
from fovea.errors import DataError

PIXELS = 3 * 32 * 32
LARGEST = 400_000_000  # bytes of an archive or of a file in it; the largest has 170,052,171
ARRAY_NAMES = {
    ("numpy", "ndarray"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
}  # fmt: skip
NUMBERS = ("u1", "i4", "i8")
Pair = tuple[ArrayImages, NDArray[np.int64]]
Read = Callable[[str], bytes]  # a file of the set, by its name


@dataclass(frozen=True)
class CifarSet:
    """Where such a set lies, and what its publisher says of it.

    Args:
        folder: Of the binary layout.
        train, test: Files of the binary layout.
        names: The file of class names.
        label_bytes: Before each image; the last one counts (CIFAR-100 has the coarse class first).
        num_classes: How many classes.
        images: Of train and test.
        address: Of the binary archive.
        md5: Of the binary archive.
        python: Folder, training files, test file, file of names and its key, and the labels' key, pickled layout.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    label_bytes: int
    num_classes: int
    address: str
    md5: str
    python: tuple[str, tuple[str, ...], str, str, str, str]
    images: tuple[int, int] = (50_000, 10_000)

    @property
    def archive(self) -> str:
        """The file name of the published archive."""
        return self.address.rpartition("/")[2]


CIFAR10 = CifarSet(
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    test="test_batch.bin",
    names="batches.meta.txt",
    label_bytes=1,
    num_classes=10,
    address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    python=(
        "cifar-10-batches-py", tuple(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta",
        "label_names", "labels",
    ),
)  # fmt: skip
CIFAR100 = CifarSet(
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    names="fine_label_names.txt",
    label_bytes=2,
    num_classes=100,
    address="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    python=("cifar-100-python", ("train",), "test", "meta", "fine_label_names", "fine_labels"),
)


def is_there(cifar_set: CifarSet, root: Path) -> bool:
    """Whether the set lies below root in one of its published layouts."""
    return any((root / name).exists() for name in (cifar_set.folder, cifar_set.archive, cifar_set.python[0]))


def read(cifar_set: CifarSet, root: Path, *, download: bool) -> tuple[Pair, Pair, tuple[str, ...]]:
    """Training images and labels, test images and labels, class names.

    Raises:
        DataError: the set is missing (and how to get it), damaged, or holds anything but arrays.
        MachineError: the download was asked for and failed.
    """
    binary, archive, pickled = root / cifar_set.folder, root / cifar_set.archive, root / cifar_set.python[0]
    if not is_there(cifar_set, root):
        if not download:
            raise DataError(
                f"{root}: holds neither {cifar_set.folder}/ nor {cifar_set.archive} nor {cifar_set.python[0]}/; give "
                f"the folder that does with --data-root or FOVEA_DATA, or add --download"
            )
        download_file(cifar_set.address, archive, cifar_set.md5)
    if binary.is_dir():
        return _binary(cifar_set, lambda name: bytes_of(binary / name), binary)
    if archive.exists():
        return _binary(cifar_set, _unpacked(archive, cifar_set), archive)
    return _pickled(cifar_set, pickled)


def _binary(cifar_set: CifarSet, read_file: Read, place: Path) -> tuple[Pair, Pair, tuple[str, ...]]:
    train = [_records(read_file(name), cifar_set, f"{place}/{name}") for name in cifar_set.train]
    test = [_records(read_file(cifar_set.test), cifar_set, f"{place}/{cifar_set.test}")]
    names = tuple(read_file(cifar_set.names).decode("ascii", errors="replace").split())
    return _checked(cifar_set, train, test, names, place)


def _records(content: bytes, cifar_set: CifarSet, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and labels: each record is its labels, then the planes of red, green and blue."""
    length = cifar_set.label_bytes + PIXELS
    if not content or len(content) % length:
        raise DataError(f"{name}: has {len(content):,} bytes, no multiple of the {length:,} of a record; get it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return _images(records[:, cifar_set.label_bytes :]), records[:, cifar_set.label_bytes - 1].astype(np.int64)


def _images(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _unpacked(archive: Path, cifar_set: CifarSet) -> Read:
    """The files of the published archive, read into memory; nothing is written."""
    content = bytes_of(archive)
    check_sum(archive, content, cifar_set.md5)
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(content, LARGEST)
        files = tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:")  # noqa: SIM115 - it lies in memory
        found = {Path(member.name).name: member for member in files if member.isfile()}
    except (zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); remove it and run again with --download") from error

    def read_file(name: str) -> bytes:
        member = files.extractfile(found[name]) if name in found else None
        if member is None:
            raise DataError(f"{archive}: holds no {name}; remove it and run again with --download")
        return member.read()

    return read_file


def _pickled(cifar_set: CifarSet, place: Path) -> tuple[Pair, Pair, tuple[str, ...]]:
    _, train_files, test_file, names_file, names_key, labels_key = cifar_set.python

    def part(name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        held = _loaded(place / name)
        labels = held.get(labels_key)
        try:
            planes = _array(held.get("data"))
        except Exception as error:  # as in _loaded
            raise DataError(f"{place / name}: holds no array under 'data' ({error}); get it again") from error
        if planes.dtype != np.uint8 or planes.shape[1:] != (PIXELS,):
            raise DataError(f"{place / name}: holds no images of {PIXELS:,} bytes each under 'data'")
        known = range(cifar_set.num_classes)
        if not isinstance(labels, list) or not all(type(label) is int and label in known for label in labels):
            raise DataError(
                f"{place / name}: holds no list of whole numbers from 0 to {known[-1]} under {labels_key!r}"
            )
        return _images(planes), np.array(labels, np.int64)

    names = _loaded(place / names_file).get(names_key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{place / names_file}: holds no list of names under {names_key!r}")
    return _checked(cifar_set, [part(name) for name in train_files], [part(test_file)], tuple(names), place)


class _Built:
    """What a pickle asks NumPy to build, noted and not built: NumPy's own reconstruction trusts sizes and pointers."""

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Name:
    """Stands for a function or a class of NumPy's; calling it notes the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> _Built:
        return _Built(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"it sets the state of {self.name}")


class _ArraysOnly(pickle.Unpickler):
    """Admits NumPy's array reconstruction and nothing else, so that no file runs code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) not in ARRAY_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return _Name(name)


def _array(built: object) -> NDArray[Any]:
    """The array of whole numbers that a pickle asked for, from its bytes.

    Raises:
        pickle.UnpicklingError: it is anything else.
    """
    if not isinstance(built, _Built) or built.name != "_reconstruct":
        raise pickle.UnpicklingError(f"{type(built).__name__} stands where an array belongs")
    _, shape, kind, fortran, content = built.state
    code = kind.arguments[0] if isinstance(kind, _Built) and kind.name == "dtype" else None
    if code not in NUMBERS or kind.state[1] not in ("|", "<"):
        raise pickle.UnpicklingError(f"an array of {code!r} stands where whole numbers belong")
    content = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(content, code).reshape(shape, order="F" if fortran else "C")


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 pickles bytes for Python 2; no other encoding is looked up."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
    return text.encode("latin1")


def _loaded(path: Path) -> dict[str, Any]:
    try:
        held = _ArraysOnly(io.BytesIO(bytes_of(path)), encoding="latin1").load()
    except DataError:
        raise
    except Exception as error:  # a pickle made by hand fails in as many ways as there are bytes
        raise DataError(f"{path}: is no pickle of plain arrays ({error}); it was not loaded") from error
    if not isinstance(held, dict):
        raise DataError(f"{path}: holds a {type(held).__name__}, not a dictionary of images and labels")
    return held


def _checked(
    cifar_set: CifarSet, train: list[Any], test: list[Any], names: tuple[str, ...], place: Path
) -> tuple[Pair, Pair, tuple[str, ...]]:
    if len(names) != cifar_set.num_classes or len(set(names)) != len(names):
        raise DataError(f"{place}: names {len(names)} classes; the set has {cifar_set.num_classes} different ones")
    pairs = []
    for split, parts, expected in zip(("train", "test"), (train, test), cifar_set.images, strict=True):
        images, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
        if len(images) != expected or len(labels) != expected:
            raise DataError(f"{place}: {split} has {len(images):,} images and {len(labels):,} labels, not {expected:,}")
        if labels.min() < 0 or labels.max() >= len(names):
            raise DataError(f"{place}: {split} has the label {labels.max()}; there are {len(names)} classes")
        pairs.append((ArrayImages(images, f"cifar{len(names)}/{split}"), labels))
    return pairs[0], pairs[1], names
