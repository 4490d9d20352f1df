"""Checkpoints: the whole state of training in one file of tensors and JSON, never loaded when a byte of it changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fovea.bundle import fill, tensors_of
from fovea.errors import ModelError, NumbersError
from fovea.files import write_durably

LAST, BEST = "last.safetensors", "best.safetensors"


@dataclass
class Progress:
    """Where training stands; with the weights and the optimiser's state, all that resuming needs.

    Args:
        step: Updates done; the only cursor. Epoch, order, augmentation and learning rate are functions of it.
        history: One row for each finished epoch.
        best: The row of the best epoch so far, or None.
        loss_sum, correct, seen: What the running epoch has added up, so that its row is the same after a resume.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0


def save(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress) -> None:
    """Write everything, checked first: what is not finite never becomes a checkpoint.

    Raises:
        NumbersError: a weight is NaN or infinite.
        MachineError: it cannot be written; the checkpoint before stays.
    """
    tensors = {f"network.{name}": tensor for name, tensor in tensors_of(network).items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NumbersError(f"{name.removeprefix('network.')} holds NaN or infinity after step {progress.step}")
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{index}.{key}": value.detach().cpu().contiguous()
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
    state = json.dumps(asdict(progress))
    write_durably(path, safetensors.torch.save(tensors, {"progress": state, "sha256": _digest(tensors, state)}))


def load(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> Progress:
    """Read a checkpoint into the network, and into the optimiser where one is given.

    Raises:
        ModelError: it is missing, cut, changed, or of another network.
    """
    tensors, progress = _read(path)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    fill(network, weights, str(path))
    if optimiser is not None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimiser."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = tensor
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return progress


def _read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping: keys() only
        state = metadata["progress"]
        whole = _digest(tensors, state) == metadata["sha256"]
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint; start the run anew") from error
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: is no checkpoint, or was cut ({error}){_other(path)}") from error
    if not whole:
        raise ModelError(f"{path}: changed since it was written (its SHA-256 does not match){_other(path)}")
    return tensors, Progress(**json.loads(state))


def _digest(tensors: dict[str, Tensor], state: str) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _other(path: Path) -> str:
    other = path.with_name(BEST if path.name == LAST else LAST)
    return f"; {other} may still be whole: copy it over this one to go on from there" if other.exists() else ""
