"""Checkpoints: the whole state of training in one file of tensors and JSON, never loaded when a byte of it changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
from fovea.files import link_durably, write_durably
from fovea.training.averaging import WeightAverage
from fovea.training.optimisers import load_state, state_tensors

# last is the newest; healthy the newest that was validated, with nothing but finite numbers; best the best of those.
LAST, BEST, HEALTHY = "last.safetensors", "best.safetensors", "healthy.safetensors"


@dataclass
class Progress:
    """Where training stands; with the weights and the optimiser's state, all that resuming needs.

    Args:
        step: Updates done; the only cursor. Epoch, order, augmentation and learning rate are functions of it.
        history: One row for each finished epoch.
        best: The row of the best epoch so far, or None.
        running: What the running epoch has added up, rank by rank: loss times images, right ones, images, gradient
            norms, so that its row is the same after a resume.
        changes: What was not the same any more after a resume, and from which step on: threads, versions, devices.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    running: list[list[float]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class State:
    """All that a checkpoint holds beside the progress.

    Args:
        network: The weights.
        optimiser: What it remembers of each of them.
        average: The averages, where there are any.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer | None = None
    average: WeightAverage | None = None

    def gather(self) -> None:
        """Bring together what lies apart, before it is judged or saved; here nothing does."""

    def spread(self) -> None:
        """Give out what was read; here it lies where it is used."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, on the CPU."""
        found = {f"network.{name}": tensor for name, tensor in tensors_of(self.network).items()}
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.tensors().items()}
        if self.optimiser is not None:
            found |= {f"optimiser.{name}": tensor for name, tensor in state_tensors(self.optimiser).items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def save(run: Path, names: Sequence[str], state: State, progress: Progress) -> None:
    """Write everything, checked first: what is not finite never becomes a checkpoint.

    Args:
        run: The run folder.
        names: Under which names; the first is written, the others are links to it, the last one set last.
        state: The tensors.
        progress: Where training stands.

    Raises:
        NumbersError: a weight is NaN or infinite.
        MachineError: it cannot be written; the checkpoints before stay.
    """
    tensors = state.tensors()
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NumbersError(
                f"{name} holds NaN or infinity after step {progress.step:,}, and is not saved; "
                f"what was saved before is kept in {run / LAST}"
            )
    said = json.dumps(asdict(progress))
    content = safetensors.torch.save(tensors, {"progress": said, "sha256": _digest(tensors, said)})
    write_durably(run / names[0], content)
    for name in names[1:]:
        link_durably(run / names[0], run / name)


def load(path: Path, state: State) -> Progress:
    """Read a checkpoint into the state.

    Raises:
        ModelError: it is missing, cut, changed, or of another network.
    """
    tensors, progress = _read(path)
    fill(state.network, _part(tensors, "network."), str(path))
    if state.optimiser is not None:
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _part(tensors, "optimiser.").items():
            index, name = key.split(".", 1)
            found.setdefault(int(index), {})[name] = tensor
        load_state(state.optimiser, found)
    if state.average is not None:
        state.average.load(_part(tensors, "average."))
    return progress


def progress_of(path: Path) -> Progress:
    """Where training stood when a checkpoint was written, without its tensors.

    Raises:
        ModelError: it is missing, or no checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return Progress(**json.loads((file.metadata() or {})["progress"]))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: is no checkpoint, or was cut ({error}){_other(path)}") from error


def first_difference(one: Path, other: Path) -> str:
    """The name of the first tensor that is not the same in two checkpoints to the bit; nothing where all are.

    Raises:
        ModelError: one of them is missing or damaged.
    """
    first, second = _read(one)[0], _read(other)[0]
    for name in sorted(first.keys() | second.keys()):
        pair = (first.get(name), second.get(name))
        if pair[0] is None or pair[1] is None or not torch.equal(_bits(pair[0]), _bits(pair[1])):
            return name
    return ""


def _bits(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping: keys() only
        said = metadata["progress"]
        whole = _digest(tensors, said) == metadata["sha256"]
    except FileNotFoundError as error:
        raise ModelError(f"{path}: there is no checkpoint; start the run anew{_other(path)}") from error
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path}: is no checkpoint, or was cut ({error}){_other(path)}") from error
    if not whole:
        raise ModelError(f"{path}: changed since it was written (its SHA-256 does not match){_other(path)}")
    try:
        return tensors, Progress(**json.loads(said))
    except TypeError as error:
        raise ModelError(f"{path}: was written by another version of fovea ({error}); start the run anew") from error


def _digest(tensors: dict[str, Tensor], said: str) -> str:
    digest = hashlib.sha256(said.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bits(tensor).numpy().data)
    return digest.hexdigest()


def _other(path: Path) -> str:
    others = [path.with_name(name) for name in (LAST, HEALTHY, BEST) if name != path.name]
    there = next((other for other in others if other.exists()), None)
    return f"; {there} may still be whole: copy it over this one to go on from there" if there else ""
