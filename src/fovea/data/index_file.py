"""An index on disk: one safetensors file of columns beside the caches, verified by its hash whenever it is opened."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from fovea.data.index import Index
from fovea.files import cache_folder, write_durably

VERSION = f"1/{PIL.__version__}"  # another one, or another decoder, is as good as no file: the set is indexed anew
COLUMNS = (
    "splits", "labels", "sizes", "stamps", "digests", "widths", "heights", "formats", "modes", "odd", "looks", "members"
)  # fmt: skip
TEXTS = ("paths",)


def place_of(root: Path) -> Path:
    """Where the index of a folder or an archive is kept."""
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in root.resolve().name)[:60]
    return cache_folder() / "indexes" / f"{name}-{key}.safetensors"


def save(index: Index, path: Path) -> None:
    """Write the index durably.

    Raises:
        MachineError: the disk is full or read-only.
    """
    arrays = {name: np.ascontiguousarray(getattr(index, name)) for name in COLUMNS}
    arrays["paths"] = _packed(index.paths)
    rest = {
        field.name: getattr(index, field.name)
        for field in dataclasses.fields(index)
        if field.name not in (*COLUMNS, *TEXTS)
    }
    told = {"version": VERSION, "index": json.dumps(rest)}  # ASCII: a name that is no UTF-8 stays as it is
    told["sha256"] = _digest(arrays, told["index"])
    write_durably(path, safetensors.numpy.save(arrays, metadata=told))


def load(path: Path) -> Index | None:
    """The index in a file; None where there is none, or none that this version reads and whose hash is right."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            told = file.metadata() or {}
            if told.get("version") != VERSION:
                return None
            arrays = {name: file.get_tensor(name) for name in (*COLUMNS, *TEXTS)}
        if told["sha256"] != _digest(arrays, told["index"]):
            return None
        rest = _with_keys(json.loads(told["index"]))
        return Index(**{name: arrays[name] for name in COLUMNS}, paths=_unpacked(arrays["paths"]), **rest)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # a cache: what cannot be read is made again


def _digest(arrays: dict[str, NDArray[Any]], told: str) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()


def _packed(paths: tuple[str, ...]) -> NDArray[np.uint8]:
    """Paths as their bytes, each ended by a zero, which no path holds."""
    return np.frombuffer(b"".join(os.fsencode(path) + b"\0" for path in paths), np.uint8)


def _unpacked(column: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(os.fsdecode(column.tobytes()).split("\0")[:-1])


def _with_keys(rest: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists and text keys as the index has them."""
    for name in ("classes", "declared", "label_names", "format_names", "mode_names"):
        rest[name] = tuple(rest[name])
    rest["containers"] = tuple((path, size, stamp) for path, size, stamp in rest["containers"])
    for name in ("reasons", "sentences"):
        rest[name] = {int(row): text for row, text in rest[name].items()}
    return rest
