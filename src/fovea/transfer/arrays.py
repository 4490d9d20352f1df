"""Weight files of arrays by name: NumPy's .npz, and HDF5 as Keras writes it."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from fovea.errors import MachineError, ModelError
from fovea.transfer.parsing import Content, parsing
from fovea.transfer.unwrapping import check_expansion, only

NUMPY_TYPES: Final = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
OPTIMISER: Final = ("optimizer", "optimizer_weights")  # Keras's groups beside the network's


def read_npz(path: Path) -> Content:
    """The arrays of `numpy.savez`, by their names.

    Raises:
        ModelError: it is damaged, or holds objects.
    """
    tensors: dict[str, Tensor] = {}
    with parsing(path, "file of numpy.savez"), zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as member:
                _check_array(path, name, member, entry.file_size)
            with archive.open(entry) as member:
                array = npy.read_array(member, allow_pickle=False)
            tensors[name] = _from_numpy(array)
    return Content(tensors, [])


def _check_array(path: Path, name: str, member: Any, size: int) -> None:
    """Compare what an array's header says with what is there, before memory is taken for it."""
    version = npy.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{only([name])} is of version {version} of NumPy's format")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(member)
    _check_type(path, name, dtype)
    if math.prod(shape) * dtype.itemsize != size - member.tell():
        raise ValueError(f"{only([name])} is said to have the shape {shape}, and is of another length")


def _check_type(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise ModelError(f"{path}: {only([name])} holds pickled objects, which are not read; save arrays of float32")
    if dtype.name not in NUMPY_TYPES:
        raise ModelError(
            f"{path}: {only([name])} holds {dtype.name}, not numbers that are read; save arrays of float32"
        )


def _from_numpy(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def read_hdf5(path: Path) -> Content:
    """The data sets of an HDF5 file, by their paths in it, as Keras writes them.

    Raises:
        ModelError: it is damaged, or holds what is no array of numbers.
        MachineError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MachineError(
            f"{path}: is HDF5, and h5py is not installed; pip install 'fovea-vision[keras]', or write .npz"
        ) from error
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    with parsing(path, "HDF5 file"), h5py.File(path, "r") as file:
        root = file
        if isinstance(file.get("model_weights", getlink=True), h5py.HardLink):
            root, notes = file["model_weights"], ["taken from 'model_weights'"]
        datasets = dict(_datasets(root, notes))
        for name, dataset in datasets.items():
            if dataset.external or dataset.is_virtual:
                raise ModelError(
                    f"{path}: {only([name])} lies in another file, which is not followed; write one whole file"
                )
            if dataset.shape is None:
                raise ModelError(f"{path}: {only([name])} has no shape and no numbers; leave it out")
            _check_type(path, name, dataset.dtype)
        sizes = (math.prod(each.shape) + math.prod(each.chunks or (0,)) for each in datasets.values())
        check_expansion(path, 8 * sum(sizes))
        for name, dataset in datasets.items():
            tensors[name] = _from_numpy(np.asarray(dataset[()]))
    return Content(tensors, notes)


def _datasets(root: Any, notes: list[str]) -> Iterator[tuple[str, Any]]:
    """Every data set below a group by its path from there; links are not followed, and no group is entered twice."""
    import h5py

    links, entered = [], set()
    waiting = [("", root)]
    while waiting:
        before, group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in entered:
            continue
        entered.add(address)
        for name in group:
            full = f"{before}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                links.append(full)
            elif full in OPTIMISER:
                notes.append(f"left aside: {full!r}")
            elif isinstance(item := group[name], h5py.Dataset):
                yield full, item
            elif isinstance(item, h5py.Group):
                waiting.append((f"{full}/", item))
    if links:
        notes.append(f"links that were not followed: {only(links)}")
