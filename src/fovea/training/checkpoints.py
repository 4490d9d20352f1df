"""Checkpoints: the whole state of training in one file of tensors and JSON, never loaded when a byte of it changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fovea.bundle import fill, tensors_of
from fovea.errors import ModelError, NumbersError
from fovea.files import link_durably, write_durably
from fovea.runtime import checkpoint
from fovea.runtime.checkpoint import bits, part
from fovea.training.averaging import WeightAverage
from fovea.training.optimisers import load_state, state_tensors

# last is the newest; healthy the newest that was validated, with nothing but finite numbers; best the best of those.
LAST, BEST, HEALTHY = "last.safetensors", "best.safetensors", "healthy.safetensors"
SNAPSHOTS = "snapshots"  # the folder of those that stay, by epoch


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
        found = {f"{checkpoint.NETWORK}{name}": tensor for name, tensor in tensors_of(self.network).items()}
        if self.average is not None:
            found |= {f"{checkpoint.AVERAGE}{name}": tensor for name, tensor in self.average.tensors().items()}
        if self.optimiser is not None:
            found |= {f"{checkpoint.OPTIMISER}{name}": tensor for name, tensor in state_tensors(self.optimiser).items()}
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def snapshots(epoch: int, every: int) -> list[str]:
    """The name under which a checkpoint stays after an epoch, counted from 1; none where it is not due."""
    return [f"{SNAPSHOTS}/epoch_{epoch:04}.safetensors"] if every and epoch % every == 0 else []


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
    write_durably(run / names[0], checkpoint.packed(tensors, json.dumps(asdict(progress))))
    for name in names[1:]:
        link_durably(run / names[0], run / name)


def load(path: Path, state: State) -> Progress:
    """Read a checkpoint into the state.

    Raises:
        ModelError: it is missing, cut, changed, or of another network.
    """
    tensors, progress = _read(path)
    fill(state.network, part(tensors, checkpoint.NETWORK), str(path))
    if state.optimiser is not None:
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in part(tensors, checkpoint.OPTIMISER).items():
            index, name = key.split(".", 1)
            found.setdefault(int(index), {})[name] = tensor
        load_state(state.optimiser, found)
    if state.average is not None:
        state.average.load(part(tensors, checkpoint.AVERAGE))
    return progress


def progress_of(path: Path) -> Progress:
    """Where training stood when a checkpoint was written, without its tensors.

    Raises:
        ModelError: it is missing, or no checkpoint.
    """
    try:
        return Progress(**json.loads(checkpoint.told_of(path)))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: was written by another version of fovea ({error}); start the run anew") from error


def first_difference(one: Path, other: Path) -> str:
    """The name of the first tensor that is not the same in two checkpoints to the bit; nothing where all are.

    Raises:
        ModelError: one of them is missing or damaged.
    """
    first, second = _read(one)[0], _read(other)[0]
    for name in sorted(first.keys() | second.keys()):
        pair = (first.get(name), second.get(name))
        if pair[0] is None or pair[1] is None or not torch.equal(bits(pair[0]), bits(pair[1])):
            return name
    return ""


def _read(path: Path) -> tuple[dict[str, Tensor], Progress]:
    try:
        tensors, told = checkpoint.read(path)
    except ModelError as error:
        raise ModelError(f"{error}{_other(path)}") from error
    try:
        return tensors, Progress(**json.loads(told))
    except TypeError as error:
        raise ModelError(f"{path}: was written by another version of fovea ({error}); start the run anew") from error


def _other(path: Path) -> str:
    others = [path.with_name(name) for name in (LAST, HEALTHY, BEST) if name != path.name]
    there = next((other for other in others if other.exists()), None)
    if there:
        return f"; {there} may still be whole: copy it over this one to go on from there"
    return "" if path.exists() else "; start the run anew"
