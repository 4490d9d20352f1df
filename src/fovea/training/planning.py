"""What a run will be, before it is begun: everything opened, chosen and measured, and told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from fovea import bundle as bundles
from fovea.cost.count import Cost, measure, parameters
from fovea.data.fitted import Fitted
from fovea.data.loader import TrainingBatches
from fovea.data.sets import Data
from fovea.errors import MachineError, ModelError, require
from fovea.training.console import duration
from fovea.training.distillation import Teacher, teacher_from
from fovea.training.inputs import prepared, training_batches
from fovea.training.losses import Loss, objective
from fovea.training.memory import Memory, available, check_memory, copies_of, memory_of
from fovea.training.options import TrainingOptions
from fovea.training.ranks import Ranks
from fovea.training.resizing import side_in
from fovea.training.settling import Measured, Trial
from fovea.training.towers.running import check_apart
from fovea.training.whitening import check_whitened

CHECKPOINTS = 3  # the last, the best, and the one being written


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be trained, and what it is expected to take; prints itself.

    Args:
        title: Network and data.
        images: How many there are, by split.
        shapes: What leaves each stage, for one image.
        parameters: Learnable ones.
        macs: Multiply-adds for one image; None for a module that does not run without numbers.
        steps: Of an epoch.
        options: With everything settled.
        memory: Of a step.
        measured: By the trial; None for a run that goes on.
        disk: Bytes that checkpoints and bundle take at most, and bytes that are free.
    """

    title: str
    images: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: int
    macs: int | None
    steps: int
    options: TrainingOptions
    memory: Memory
    measured: Measured | None
    disk: tuple[int, int]

    @property
    def seconds(self) -> float | None:
        """Expected for the whole run; None where nothing was measured."""
        if self.measured is None:
            return None
        told, side = self.options, self.shapes["image"][-1]
        update = self.measured.step[told.execution.precision]
        whole = told.epochs * self.steps
        share = min(whole, told.max_steps or whole) / whole
        epochs = [self.steps * update * (side_in(e, told, side) / side) ** 2 for e in range(told.epochs)]
        each = self.steps * self.measured.data + self.measured.validation
        return share * (sum(epochs) + told.epochs * each)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "title": self.title,
            "images": dict(self.images),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "parameters": self.parameters,
            "multiply_adds": self.macs,
            "epochs": self.options.epochs,
            "steps_per_epoch": self.steps,
            "memory": self.memory._asdict(),
            "seconds": self.seconds,
            "disk": dict(zip(("needed", "free"), self.disk, strict=True)),
            "options": bundles.as_json(self.options.flat()),
        }

    def __str__(self) -> str:
        images = ", ".join(f"{n:,} {name}" for name, n in self.images.items())
        width = max(map(len, self.shapes))
        lines = [f"{self.title}: {images} images", f"{'stage':<{width}}  shape leaving it"]
        lines += [f"{name:<{width}}  {' × '.join(map(str, shape))}" for name, shape in self.shapes.items()]
        macs = f", {self.macs:,} multiply-adds per image" if self.macs is not None else ""
        unknown = "; the module does not run on the meta device, so its shapes are not known beforehand"
        lines += [f"{self.parameters:,} parameters{macs or unknown}"]
        return "\n".join([*lines, *self._expected()])

    def _expected(self) -> list[str]:
        told, lines = self.options, []
        if self.memory.step is not None:
            lines += [f"memory  {_bytes(self.memory.step)} in a step; {_bytes(self.memory.available)} free"]
        lines += [f"disk    {_bytes(self.disk[0])} at most; {_bytes(self.disk[1])} free"]
        if self.measured is None or self.seconds is None:
            return lines
        step = self.measured.step[told.execution.precision]
        lines += [
            f"time    about {duration(self.seconds)}: {told.epochs:,} epochs of {self.steps:,} steps of "
            f"{(step + self.measured.data) * 1000:,.3g} ms, as fast as this machine is now"
        ]
        return lines + [f"chosen  {note}" for note in self.measured.notes]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that a run is made of, before its first step.

    Args:
        fabric, ranks: Launched.
        network: On its device.
        data, splits: As given, and at the network's size.
        options: With everything settled.
        asked: As they were given.
        batches: This process's share.
        loss: What is minimised.
        teacher: Whom the network learns from, too.
        origin: Where its first weights come from, where they are not fresh.
        plan: The same in words.
    """

    fabric: Fabric
    ranks: Ranks
    network: nn.Module
    data: Data
    splits: dict[str, Fitted]
    options: TrainingOptions
    asked: TrainingOptions
    batches: TrainingBatches
    loss: Loss
    teacher: Teacher | None
    origin: Mapping[str, Any] | None
    plan: Plan


def prepare(
    network: nn.Module,
    data: Data,
    asked: TrainingOptions,
    *,
    run: Path,
    found: Mapping[str, Any] | None = None,
    measure: bool = True,
) -> Prepared:
    """Open, choose and measure.

    Args:
        network: From images to logits.
        data: What it learns.
        asked: The recipe.
        run: Where the run will lie, or lies.
        found: The configuration of a run that goes on: what it settled is not settled again.
        measure: Whether to measure what nothing but the plan depends on.

    Raises:
        MachineError: the device is not there, or memory or disk do not suffice.
        DataError: data that cannot be learned from.
        ModelError: the network does not fit the data.
    """
    options = asked if found is None else asked.settled_as(found.get("chosen", {}), found.get("training", {}))
    if options.stages.whiten:
        check_whitened(network)
    splits = prepared(network, data, options)
    fabric = launched(options)
    if options.execution.towers_apart:
        check_apart(network, options, fabric.world_size)
    ranks = Ranks(fabric, together=options.execution.towers_apart)
    thawing = options.stages.thaw_epochs  # ranks agree once, at the start, on the gradients that they share
    require("thaw_epochs", thawing, thawing == 0 or ranks.count == 1, f"0 with {ranks.count} ranks")
    batches = training_batches(splits["train"], options, ranks, fabric.device)
    spec = splits["train"].preprocessing
    cost = _cost(network, spec.in_channels, spec.image_size)
    teacher = None
    if options.objective.teacher:
        teacher = teacher_from(
            options.objective.teacher, classes=data.classes, preprocessing=spec, device=fabric.device
        )
    counts = torch.bincount(splits["train"].labels, minlength=len(data.classes))
    loss = objective(options.objective, label_counts=counts, teacher=teacher)
    network.to(fabric.device)
    measured, free = None, available(fabric.device)  # before the trial, of whose memory the process keeps the most
    if found is None:
        trial = Trial(
            network=network,
            batches=batches,
            loss=loss,
            fabric=fabric,
            ranks=ranks,
            macs=cost.multiply_adds if cost else None,
            validation=len(splits["validation"]),
        )
        with torch.random.fork_rng(devices=[]):
            options, measured = trial.settled(options, measure=measure)
    images = batches.batch_size // batches.ranks // options.update.accumulate
    memory = memory_of(network, (spec.in_channels, spec.image_size), images, options, fabric.device, free=free)
    check_memory(memory, images)
    plan = Plan(
        title=f"{name_of(network)} on {data.name}",
        images={name: len(split) for name, split in splits.items()},
        shapes={"image": (spec.in_channels, spec.image_size, spec.image_size)} | (cost.shapes if cost else {}),
        parameters=parameters(network),
        macs=cost.multiply_adds if cost else None,
        steps=len(batches),
        options=options,
        memory=memory,
        measured=measured,
        disk=_disk(network, options, run),
    )
    return Prepared(
        fabric=fabric,
        ranks=ranks,
        network=network,
        data=data,
        splits=splits,
        options=options,
        asked=asked,
        batches=batches,
        loss=loss,
        teacher=teacher,
        origin=bundles.origin_of(network) if found is None else found.get("weights"),
        plan=plan,
    )


def launched(options: TrainingOptions) -> Fabric:
    """One process, or as many as torchrun started.

    Raises:
        MachineError: the device is not there.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    try:
        fabric = Fabric(
            accelerator=options.execution.device,
            devices=here,
            num_nodes=processes // here,
            strategy="ddp" if processes > 1 else "auto",
        )
    except (RuntimeError, MisconfigurationException) as error:
        raise MachineError(f"device (={options.execution.device}) is not available here: {error}") from error
    fabric.launch()
    return fabric


def name_of(network: nn.Module) -> str:
    """The architecture's name, or the class of a network of somebody else."""
    architecture = bundles.describe(network)
    name = architecture.name if architecture else type(network).__name__
    return name.rpartition(":")[2]  # of file.py:Class the class


def _cost(network: nn.Module, in_channels: int, image_size: int) -> Cost | None:
    try:
        return measure(network, in_channels=in_channels, image_size=image_size)
    except ModelError:
        return None


def _disk(network: nn.Module, options: TrainingOptions, run: Path) -> tuple[int, int]:
    """Bytes that the run's files take at most, and bytes that are free where they will lie.

    Raises:
        MachineError: they do not fit.
    """
    weights = sum(tensor.numel() * tensor.itemsize for tensor in network.state_dict().values())
    averages = 1 if options.averaging.ema > 0 or options.averaging.swa_epochs > 0 else 0
    every = options.keeping.snapshot_epochs
    kept = CHECKPOINTS + (options.epochs // every if every else 0)
    needed = weights * (1 + kept * (1 + averages + copies_of(options)))
    place = next(path for path in (run, *run.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise MachineError(
            f"{run}: checkpoints and bundle take {needed:,} bytes, {free:,} are available; "
            "make room, or choose another --out"
        )
    return needed, free


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
