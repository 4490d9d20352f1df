"""Features that were extracted once are kept, by a fingerprint of network, preprocessing, stage and images."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from safetensors import SafetensorError

from fovea.bundle import tensors_of
from fovea.data.fitted import Fitted
from fovea.data.sets import Split
from fovea.errors import MachineError
from fovea.files import cache_folder, make_folder, write_durably
from fovea.runtime.features import stage_features
from fovea.runtime.model import Model

LARGEST_CACHE = 4 << 30  # bytes; of more the oldest are removed
KEY, SECONDS = "features", "seconds"


class Features(NamedTuple):
    """Features of a split.

    Args:
        rows: One for each image.
        seconds: What extracting them took, when that was done.
    """

    rows: Float32[NDArray[np.float32], "n d"]
    seconds: float


def remembered(model: Model, split: Split, stage: str, *, workers: int) -> Features:
    """Pooled features of a stage, from the cache or into it.

    Args:
        model: The network with its preprocessing.
        split: The images.
        stage: As `features` takes it.
        workers: Threads that decode.
    """
    path = cache_folder() / KEY / f"{_name(model, split, stage)}.safetensors"
    kept = _kept(path, len(split))
    if kept is not None:
        return kept
    began = time.perf_counter()
    fitted = Fitted(split.images, torch.from_numpy(split.labels), model.bundle.preprocessing, None, workers)
    found = stage_features(model, fitted, [stage])[stage].flatten(1).contiguous()
    seconds = time.perf_counter() - began
    with contextlib.suppress(MachineError):  # one that cannot be kept costs time later, nothing else
        make_folder(path.parent)
        write_durably(path, safetensors.torch.save({KEY: found}, {SECONDS: f"{seconds:.3f}"}))
        _prune(path)
    return Features(found.numpy(), seconds)


def _kept(path: Path, count: int) -> Features | None:
    """What the cache has; what cannot be read, or is not of so many images, is made again."""
    with contextlib.suppress(OSError, SafetensorError, KeyError, TypeError, ValueError):
        with safetensors.safe_open(path, framework="pt") as file:
            rows, seconds = file.get_tensor(KEY), float(file.metadata()[SECONDS])
        if len(rows) == count:
            return Features(rows.numpy(), seconds)
    return None


def _name(model: Model, split: Split, stage: str) -> str:
    told = {
        "weights": hashlib.sha256(safetensors.torch.save(tensors_of(model.bundle.network))).hexdigest(),
        "architecture": dataclasses.asdict(model.bundle.architecture) if model.bundle.architecture else None,
        "preprocessing": dataclasses.asdict(model.bundle.preprocessing),
        "images": split.images.fingerprint(),
        "stage": stage,
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40]


def _prune(newest: Path) -> None:
    """Remove the oldest, until the cache is as small as it may be; never the newest."""
    total = 0
    for path in _by_age(newest.parent):
        size = path.stat().st_size
        total += size
        if total > LARGEST_CACHE and path != newest:
            with contextlib.suppress(OSError):
                path.unlink()


def _by_age(folder: Path) -> Iterator[Path]:
    """Youngest first."""
    return iter(sorted(folder.glob("*.safetensors"), key=lambda path: -path.stat().st_mtime))
