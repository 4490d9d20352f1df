"""The file of a checkpoint: tensors and what is told of them, never read when a byte of it changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from fovea.errors import ModelError

NETWORK, AVERAGE, OPTIMISER = "network.", "average.", "optimiser."  # what a tensor's name begins with


def packed(tensors: dict[str, Tensor], told: str) -> bytes:
    """A checkpoint's content: the tensors, what is told of them, and a digest over both."""
    return safetensors.torch.save(tensors, {"progress": told, "sha256": _digest(tensors, told)})


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a checkpoint, and what is told of them.

    Raises:
        ModelError: it is missing, no checkpoint, cut or changed.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping: keys() only
        told = metadata["progress"]
        whole = _digest(tensors, told) == metadata["sha256"]
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint") from error
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: is no checkpoint, or was cut ({error})") from error
    if not whole:
        raise ModelError(f"{path}: changed since it was written (its SHA-256 does not match)")
    return tensors, told


def told_of(path: Path) -> str:
    """What is told of a checkpoint's tensors, without reading them.

    Raises:
        ModelError: it is missing, or no checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return str((file.metadata() or {})["progress"])
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint") from error
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: is no checkpoint, or was cut ({error})") from error


def is_checkpoint(path: Path) -> bool:
    """Whether a file says that it is a checkpoint of ours; nothing is verified."""
    try:
        told_of(path)
    except ModelError:
        return False
    return True


def judged_weights(path: Path) -> dict[str, Tensor]:
    """The network's tensors of a checkpoint as validation judged them: with the averages, where a run keeps any.

    Raises:
        ModelError: as `read`.
    """
    tensors, _ = read(path)
    return part(tensors, NETWORK) | part(tensors, AVERAGE)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def bits(tensor: Tensor) -> Tensor:
    """The tensor's bytes, flat."""
    return tensor.reshape(-1).view(torch.uint8)


def _digest(tensors: dict[str, Tensor], told: str) -> str:
    digest = hashlib.sha256(told.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bits(tensor).numpy().data)
    return digest.hexdigest()
