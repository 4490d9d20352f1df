"""The memory that training takes, before the first step: what is alive at the worst moment, and which batch fits.

    peak = weights + buffers + images + optimiser's state + the most that is alive during forward and backward pass

What is alive is not estimated from a formula: autograd runs the step on tensors without numbers, and the account
follows each storage from its making to its end. Optimisers are fused ones, which update weights without temporaries.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from fovea.cost.count import stages_of
from fovea.cost.step import Precision, Setting, Step, training_step

Optimiser = Literal["sgd", "adam"]
# Copies of the weights that an optimiser keeps, and bytes beside them for each weight tensor: Adam's count of steps.
STATE: dict[Optimiser, tuple[int, int]] = {"sgd": (1, 0), "adam": (2, 4)}
MOST = 1 << 24  # images in a batch that are tried


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes of live tensors at the peak of a training step.

    Args:
        setting: How the network is trained.
        optimiser: "sgd" with momentum, or "adam"; both fused.
        weights, buffers, images: There all the time; images with their labels.
        state: What the optimiser remembers.
        activations: Kept by the forward pass for the backward pass, and maps at work in the forward pass.
        gradients: Of the weights, as many as are finished at the peak.
        working: Gradients of maps, and what convolutions borrow while they run.
        where: The layer at work at the peak, and the pass.
        curve: The most alive as a function of the batch: the peak's bytes for any batch size.
    """

    setting: Setting
    optimiser: Optimiser
    weights: int
    buffers: int
    images: int
    state: int
    activations: int
    gradients: int
    working: int
    where: str
    curve: Callable[[int], int]

    @property
    def peak(self) -> int:
        """All of it."""
        held = self.weights + self.buffers + self.images + self.state
        return held + self.activations + self.gradients + self.working

    def largest_batch(self, limit: int) -> int:
        """The most images in a step whose peak is at most so many bytes; 0 where not even one fits."""
        low, high = 0, 1
        while high < MOST and self.curve(high) <= limit:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.curve(middle) <= limit else (low, middle)
        return low

    def as_json(self, limit: int) -> dict[str, Any]:
        """Everything but the curve, as plain values, and the largest batch within so many bytes."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("setting", "curve")}
        return asdict(self.setting) | values | {"peak": self.peak, "largest_batch": self.largest_batch(limit)}


def training_memory(network: nn.Module, setting: Setting, optimisers: Iterable[Optimiser]) -> list[TrainingMemory]:
    """What a step takes with each of the optimisers.

    Raises:
        ShapeError: the images do not fit.
        ModelError: the network cannot run without numbers, or forward and backward pass do not suit each other.
    """
    blocks = blocks_of(network)
    step = training_step(network, setting, blocks=blocks)
    more = training_step(network, replace(setting, batch_size=setting.batch_size + 1), blocks=blocks)
    return [_memory(step, more, setting, optimiser) for optimiser in optimisers]


def plans(network: nn.Module, setting: Setting) -> list[TrainingMemory]:
    """What a step takes in every way there is: optimiser, precision, memory format, checkpointing."""
    found: list[TrainingMemory] = []
    precisions: tuple[Precision, ...] = ("float32", "bf16")
    for precision, last, again in itertools.product(precisions, (False, True), (False, True)):
        how = replace(setting, precision=precision, channels_last=last, checkpointing=again)
        found += training_memory(network, how, ("sgd", "adam"))
    return found


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """What activation checkpointing runs again as a whole: the blocks of each stage, or the stage where it has none."""
    blocks: list[nn.Module] = []
    for stage in stages_of(network).values():
        parts = list(stage.children())
        in_blocks = isinstance(stage, nn.Sequential) and all(list(part.children()) for part in parts)
        blocks += parts if in_blocks else [stage]
    return [block for block in blocks if list(block.children())]


def machine_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file() and (said := path.read_text().strip()).isdigit():
            limits.append(int(said))
    return min(limits)


def _memory(step: Step, more: Step, setting: Setting, optimiser: Optimiser) -> TrainingMemory:
    copies, each = STATE[optimiser]
    state = copies * sum(step.trainable) + each * len(step.trainable)
    timeline = step.liveness.timeline
    position = max(range(len(timeline)), key=timeline.__getitem__)
    alive = step.liveness.alive(position)
    gradients = sum(made.bytes for name, made in alive.items() if name in step.gradients)
    activations = sum(m.bytes for name, m in alive.items() if m.phase == "forward" and name not in step.gradients)
    worker = step.trace.operations[position]
    return TrainingMemory(
        setting=setting,
        optimiser=optimiser,
        **step.held,
        state=state,
        activations=activations,
        gradients=gradients,
        working=timeline[position] - activations - gradients,
        where=f"{worker.call.path or 'the loss'}, {worker.phase}",
        curve=_curve(step, more, setting.batch_size, state),
    )


def _curve(step: Step, more: Step, batch: int, state: int) -> Callable[[int], int]:
    """Peak bytes by batch size: at every moment a fixed part and a part for each image, known from two batch sizes."""
    lines = _lines(step.liveness.timeline, more.liveness.timeline)
    images = more.held["images"] - step.held["images"]
    held = sum(step.held.values()) + state

    def peak(size: int) -> int:
        most = max(now + (size - batch) * each for now, each in lines)
        return held + (size - batch) * images + max(most, 0)

    return peak


def _lines(now: Sequence[int], more: Sequence[int]) -> list[tuple[int, int]]:
    """Bytes alive, and how many more with one more image; where the two runs differ in length, the peaks alone."""
    pairs = zip(now, more, strict=True) if len(now) == len(more) else [(max(now), max(more))]
    return _hull([(a, b - a) for a, b in pairs])


def _hull(lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The lines that can be the highest somewhere: for each slope the highest."""
    highest: dict[int, int] = {}
    for now, each in lines:
        highest[each] = max(now, highest.get(each, now))
    return [(now, each) for each, now in highest.items()]
