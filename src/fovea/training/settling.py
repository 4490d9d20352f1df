"""What is chosen by trying: precision, parts of a batch, epochs within a budget; once, before the first step.

A resumed or repeated run takes what was found from the configuration: clocks decide nothing twice.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch import nn

from fovea.data.batch import Batch
from fovea.data.loader import TrainingBatches
from fovea.errors import MachineError
from fovea.training import optimisers
from fovea.training.arithmetic import arranged, candidates, has_bf16, is_reduced
from fovea.training.forward import Forward
from fovea.training.loop import Step
from fovea.training.losses import Loss
from fovea.training.memory import check_memory, explained_memory, memory_of, parts_that_fit
from fovea.training.options import TrainingOptions
from fovea.training.ranks import Ranks
from fovea.training.resizing import side_in
from fovea.training.schedules import fitted
from fovea.training.stages import Stagewise

SMALL = 1e8  # multiply-adds of a step below which arithmetic is not what takes the time: LeNet-5 on 240 images
WORK = 3e10  # multiply-adds of a trial step at most
IMAGES = 16  # of a trial step, and more where they are small: as many as LIGHT multiply-adds
LIGHT = 5e9
ROUNDS = 3
GAIN = 1.1  # by which a reduced precision must be faster, to be chosen
CLEAR = 1.03  # by which its less plain forms must be faster than the plainer: what they need, a resumed run needs too
SAFETY = 0.95  # of the time budget is planned
MOST = 100_000  # epochs


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the trial found, in seconds on this machine as it is now.

    Args:
        step: Of one update; by precision where several were tried.
        data: Of making one batch, by itself.
        validation: Of judging the validation images once.
        notes: What was chosen, and why.
    """

    step: dict[str, float]
    data: float
    validation: float
    notes: list[str] = field(default_factory=list)


class Timing(NamedTuple):
    """Seconds of a trial step: the whole update, its optimiser's part, which no image makes longer, and judging."""

    update: float
    optimiser: float
    judging: float

    def of(self, times: float) -> float:
        """An update with so many times the images."""
        return (self.update - self.optimiser) * times + self.optimiser


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A few steps with copies of the network, so that nothing of the run itself has happened.

    Args:
        network: On its device; not changed.
        batches: Of the run.
        loss: Of the run.
        fabric, ranks: Launched.
        macs: Multiply-adds for one image; None where they are not known.
        validation: How many images are judged after each epoch.
    """

    network: nn.Module
    batches: TrainingBatches
    loss: Loss
    fabric: Fabric
    ranks: Ranks
    macs: int | None
    validation: int

    def settled(self, options: TrainingOptions, *, measure: bool) -> tuple[TrainingOptions, Measured | None]:
        """The options without anything left to choose, and what was measured; the same in all ranks.

        Args:
            options: As they were given.
            measure: Whether to measure where nothing depends on it, for a plan that tells the time.

        Raises:
            MachineError: not even one image fits into memory.
        """
        notes: list[str] = []
        options = self._parts(options, notes)
        auto, names = options.execution.precision == "auto", self._candidates(options)
        found = None
        if measure or len(names) > 1 or options.time_budget > 0:
            found = self._measured(options, names, notes)
            names = (_worth(found.step),)
        if auto:
            told = [f"{name} {seconds * 1000:,.1f} ms" for name, seconds in (found.step if found else {}).items()]
            notes.append(f"precision {names[0]}" + (f", of {', '.join(told)} a step" if len(told) > 1 else ""))
        elif is_reduced(names[0]) and not has_bf16(self.fabric.device):
            notes.append(f"precision {names[0]}, as asked; bf16 is emulated here and slow, float32 would be faster")
        options = options.but(precision=names[0])
        if options.time_budget > 0 and found is not None:
            options = self._epochs(options, found)
        settled: tuple[TrainingOptions, Measured | None] = self.fabric.broadcast((options, found))
        return settled

    def _parts(self, options: TrainingOptions, notes: list[str]) -> TrainingOptions:
        if options.update.accumulate > 0:
            return options
        images, auto = options.batch_size // self.batches.ranks, options.execution.precision == "auto"
        tried = options.but(accumulate=1, precision="float32" if auto else options.execution.precision)
        largest = memory_of(self.network, self._image, images, tried, self.fabric.device).largest
        parts = parts_that_fit(images, images if largest is None else largest)
        if parts is None:
            raise MachineError("not even one image fits into memory; choose a smaller network or --image-size")
        notes.append(f"batches of {options.batch_size:,} images, {images // parts:,} computed at once")
        return options.but(accumulate=parts)

    def _candidates(self, options: TrainingOptions) -> tuple[str, ...]:
        if options.execution.precision != "auto":
            return (options.execution.precision,)
        work = math.inf if self.macs is None else self.macs * self._part(options)
        return candidates(self.network, self.fabric.device) if work >= SMALL else ("float32",)

    def _part(self, options: TrainingOptions) -> int:
        """Images that one process computes at once."""
        return options.batch_size // self.batches.ranks // options.update.accumulate

    def _measured(self, options: TrainingOptions, names: tuple[str, ...], notes: list[str]) -> Measured:
        part = self._part(options)
        images = min(part, self._images())
        batch = next(self.batches.epoch(0)).between(0, images)
        account = memory_of(self.network, self._image, part, options, self.fabric.device)
        check_memory(account, part)  # before the trial, which might be ended for it by the system
        with explained_memory(account, images, self.fabric.device):
            found = self._timed(options, names, batch)
        scale, judged = part / images * options.update.accumulate, self.validation / self.batches.ranks / images
        return Measured(
            step={name: timing.of(scale) for name, timing in found.items()},
            data=self._data(),
            validation=found[names[0]].judging * judged,
            notes=notes,
        )

    def _timed(self, options: TrainingOptions, names: tuple[str, ...], batch: Batch) -> dict[str, Timing]:
        """The least of a few rounds in turn."""
        works = {name: self._works(options, name, batch) for name in names}
        for update, judge, _ in works.values():
            update()
            judge()
        least = dict.fromkeys(names, Timing(math.inf, math.inf, math.inf))
        for _ in range(ROUNDS):
            for name, (update, judge, clock) in works.items():
                found = Timing(self._seconds(update), clock.seconds, self._seconds(judge))
                least[name] = Timing(*map(min, least[name], found))
        return least

    def _works(
        self, options: TrainingOptions, precision: str, batch: Batch
    ) -> tuple[Callable[[], None], Callable[[], None], _Clock]:
        network = copy.deepcopy(self.network)
        stages = Stagewise(network, options.stages)
        stages.begin_widest(options.epochs)
        options = options.but(precision=precision, accumulate=1)
        forward = Forward(network, precision, self.fabric.device)
        optimiser = optimisers.build(network, options.update, stages.scales(), stages.head())
        step = Step(
            fabric=self.fabric,
            ranks=self.ranks,
            forward=forward,
            loss=self.loss,
            optimiser=optimiser,
            options=options,
        )

        def update() -> None:
            with arranged(network, precision):
                step(batch, 0, 0.0)

        def judge() -> None:
            network.eval()
            with torch.inference_mode():
                network(batch.images)
            stages.begin_widest(options.epochs)

        return update, judge, _Clock(optimiser)

    def _seconds(self, work: Callable[[], None]) -> float:
        began = time.perf_counter()
        work()
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def _data(self) -> float:
        batches, count = self.batches.epoch(0), min(3, len(self.batches))
        began = time.perf_counter()
        for _ in range(count):
            next(batches)
        seconds = (time.perf_counter() - began) / count
        batches.close()
        return seconds

    def _epochs(self, options: TrainingOptions, found: Measured) -> TrainingOptions:
        left, epochs, step = SAFETY * 60 * options.time_budget, 0, found.step[options.execution.precision]
        while left > 0 and epochs < MOST:
            side = side_in(epochs, options, self._image[1]) / self._image[1]
            left -= (step * side**2 + found.data) * len(self.batches) + found.validation
            epochs += left > 0
        few = "" if epochs else "; not even one epoch is expected to fit"
        found.notes.append(f"{max(1, epochs):,} epochs for {options.time_budget:g} minutes{few}")
        return fitted(options, max(1, epochs)).but(time_budget=0.0)

    def _images(self) -> int:
        """Of a trial step: enough to be like the run's, few enough to be done at once."""
        if self.macs is None:
            return IMAGES
        return max(2, int(min(WORK / self.macs, max(IMAGES, LIGHT / self.macs))))

    @property
    def _image(self) -> tuple[int, int]:
        spec = self.batches.fitted.preprocessing
        return spec.in_channels, spec.image_size


def _worth(times: dict[str, float]) -> str:
    """The plainest arithmetic that no other beats by enough; the times come plainest first."""
    plain, reduced = ({name: times[name] for name in times if is_reduced(name) is kind} for kind in (False, True))
    first, second = _quickest(plain), _quickest(reduced)
    return second if second and not (first and times[second] * GAIN >= times[first]) else first


def _quickest(times: dict[str, float]) -> str:
    """The plainest that is as good as the quickest."""
    least = min(times.values(), default=0.0)
    return next((name for name in times if times[name] < least * CLEAR), "")


class _Clock:
    """How long an optimiser's last step took, as the program sees it: on a GPU hardly anything."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self.seconds = self._began = 0.0
        optimiser.register_step_pre_hook(self._begin)
        optimiser.register_step_post_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
