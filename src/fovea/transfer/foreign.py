"""Weight files of other libraries, read as data: what such a file holds beside numbers is refused, never executed."""

from __future__ import annotations

import json
import mmap
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import torch
from torch import Tensor

from fovea.errors import FoveaError, ModelError
from fovea.transfer.arrays import read_hdf5, read_npz
from fovea.transfer.parsing import Content, parsing
from fovea.transfer.unwrapping import as_float32, check_expansion, only, unwrapped, without_prefixes

HEADER_LIMIT: Final = 16 << 20  # bytes of a safetensors header; that of a thousand tensors has 0.1 million
SAFETENSORS: Final = ".safetensors"

# What a file begins with that is no weight file, and what to do about it.
NO_WEIGHTS: Final = (
    (b"\x93NUMPY", "holds one array without a name; numpy.savez(path, name=array) keeps several by their names"),
    (b"version https://git-lfs", "is Git LFS's pointer to the file, not the file itself; git lfs pull fetches it"),
    (b"\x1f\x8b", "is compressed by gzip; unpack it first"),
    (b"<", "is a web page or XML, so the download went wrong; fetch the file again"),
)
# Formats that are not read, and how their arrays come out of them.
DECLINED: Final = {
    ".caffemodel": "Caffe's files are not read; in Caffe's own environment write the arrays as .npz: numpy.savez(path, "
    '**{f"{layer}.{i}": blob.data for layer, blobs in net.params.items() for i, blob in enumerate(blobs)})',
    ".prototxt": "describes a network of Caffe and holds no weights; those stand in the .caffemodel beside it",
    ".onnx": "ONNX is not read; with the onnx package write the arrays as .npz: numpy.savez(path, "
    "**{each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(file).graph.initializer})",
    ".tflite": "TensorFlow Lite is not read; with its interpreter write the arrays as .npz: numpy.savez(path, "
    '**{each["name"]: interpreter.get_tensor(each["index"]) for each in interpreter.get_tensor_details()})',
    ".pb": "TensorFlow's graphs are not read; in TensorFlow write the arrays as .npz: numpy.savez(path, "
    "**{each.name: each.numpy() for each in model.variables})",
}


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What a weight file holds.

    Args:
        tensors: By the names in the file, wrappers and prefixes taken off; float32, or whole numbers as they were.
        notes: What was taken off, left aside or converted, in words.
        licence: What the file itself says of it; "" where it says nothing.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    licence: str = ""


def read_foreign(path: Path) -> Foreign:
    """Read a weight file: safetensors, torch's (zipped or not), NumPy's .npz or HDF5 as Keras writes it.

    The format is what the content says; the suffix counts where the content says nothing. Nothing is executed.

    Raises:
        ModelError: no such file, no weight file, damaged, code instead of weights, NaN or infinity, or numbers of a
            type that cannot become float32.
        MachineError: HDF5, and h5py is not installed.
    """
    path = Path(path)
    try:
        reader = _reader(path, _first_bytes(path))
    except (OSError, ValueError) as error:
        if isinstance(error, FoveaError):
            raise
        raise ModelError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    content = reader(path)
    tensors, wrappers = unwrapped(path, content.held)
    tensors, prefixes = without_prefixes(tensors)
    tensors, conversions = as_float32(path, tensors)
    notes = (*content.notes, *wrappers, *prefixes, *conversions)
    return Foreign(tensors=tensors, notes=notes, licence=content.licence)


def _first_bytes(path: Path) -> bytes:
    if not path.exists():
        raise ModelError(f"{path}: there is no such file")
    if path.is_dir():
        raise ModelError(f"{path}: is a folder; name the file of weights in it")
    if not path.is_file():
        raise ModelError(f"{path}: is a device or a pipe; name a file of weights")
    with open(path, "rb") as file:
        first = file.read(512)
    if not first:
        raise ModelError(f"{path}: is empty; fetch the file again")
    return first


def _reader(path: Path, first: bytes) -> Callable[[Path], Content]:
    """Which reader the content asks for, or the suffix where the content does not say."""
    if first[8:9] == b"{" and first[5:8] == bytes(3):  # the length of the header, then JSON
        return _safetensors
    suffix = path.suffix.lower()
    found: Callable[[Path], Content] | None = None
    if first.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        found = _zipped(path)
    elif first.startswith(b"\x89HDF\r\n\x1a\n"):
        found = read_hdf5
    elif first[:1] == pickle.PROTO and first[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        found = _pickled
    if found is not None and suffix == SAFETENSORS:
        raise ModelError(
            f"{path}: is called .safetensors, but is no such file by its content, so it may hold anything; "
            "fetch it again, or give it the suffix that it should have"
        )
    if found is not None:
        return found
    if first[257:262] == b"ustar":
        raise ModelError(
            f"{path}: is a tar archive; unpack it, or load it in the torch that wrote it and save it again"
        )
    for magic, sentence in NO_WEIGHTS:
        if first.startswith(magic):
            raise ModelError(f"{path}: {sentence}")
    if suffix == SAFETENSORS:
        return _safetensors  # which says what is wrong with it
    if first[4:8] == b"TFL3" or suffix in DECLINED:
        raise ModelError(f"{path}: {DECLINED.get(suffix, DECLINED['.tflite'])}")
    raise ModelError(
        f"{path}: is no weight file by its content, or is damaged; safetensors, torch's .pth, NumPy's .npz and "
        "Keras's .h5 are read"
    )


def _safetensors(path: Path) -> Content:
    with parsing(path, "safetensors file"):
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(HEADER_LIMIT, size - 8):
                raise ValueError(f"its header is said to have {length:,} bytes, the file has {size:,}")
            json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_without_duplicates)
        with safetensors.safe_open(path, framework="pt") as opened:  # which checks types, shapes and offsets
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
    return Content(tensors, [], metadata.get("licence") or metadata.get("license") or "")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return made


def _zipped(path: Path) -> Callable[[Path], Content]:
    """Which of the formats that are zip archives a zip archive is."""
    with parsing(path, "zip archive"), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    folders = {part for name in names for part in name.split("/")[:-1]}
    if any(name.split("/")[-1] == "constants.pkl" for name in names) or "code" in folders:
        raise ModelError(f"{path}: is a TorchScript archive, {_CODE}")
    if any(name.split("/")[-1] == "data.pkl" for name in names):
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ModelError(f"{path}: is compressed, as torch never writes it; save it again with torch.save")
        return _torch_zip
    if "model.weights.h5" in names:
        raise ModelError(f"{path}: is a Keras archive; unzip it, and name the model.weights.h5 in it")
    if not names or not all(name.endswith(".npy") for name in names):
        raise ModelError(
            f"{path}: is a zip archive that neither torch nor NumPy wrote; unpack it, and name a file in it"
        )
    if len(set(names)) < len(names):
        raise ModelError(f"{path}: is damaged, a name stands twice in it; fetch it again")
    check_expansion(path, sum(entry.file_size for entry in entries))
    return read_npz


_CODE: Final = (
    "which holds code, not weights alone, and nothing of it was executed; whoever trusts it can load it where it was "
    "made, and save model.state_dict() instead"
)


def _torch_zip(path: Path) -> Content:
    # Mapped: what is left aside, such as an optimiser's state, is never read.
    return _from_torch(path, lambda: torch.load(str(path), map_location="cpu", weights_only=True, mmap=True))


def _pickled(path: Path) -> Content:
    def load() -> object:
        with open(path, "rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)

    return _from_torch(path, load)


def _from_torch(path: Path, load: Callable[[], object]) -> Content:
    with parsing(path, "file of torch"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b"bytearray") >= 0:  # torch admits it, and it fills as much memory as the file asks for
                raise ModelError(f"{path}: holds a bytearray, which no weights need; save model.state_dict() instead")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of pickles that it then reads or refuses
                return Content(load(), [])
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            if found is None:
                raise
            raise ModelError(f"{path}: holds {only([found[1]])}, {_CODE}") from error
