"""What is chosen by trying: precision, parts of a batch, epochs within a budget; once, before the first step.

A resumed or repeated run takes what was found from the configuration: clocks decide nothing twice.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from lightning.fabric import Fabric
from torch import nn

from fovea.data.batch import Batch
from fovea.data.loader import TrainingBatches
from fovea.errors import MachineError
from fovea.training import optimisers
from fovea.training.arithmetic import arranged, candidates
from fovea.training.forward import Forward
from fovea.training.loop import Step
from fovea.training.losses import Loss
from fovea.training.memory import explained_memory, memory_of, parts_that_fit
from fovea.training.options import TrainingOptions
from fovea.training.resizing import side_in
from fovea.training.schedules import fitted

SMALL = 1e9  # multiply-adds of a step below which arithmetic is not what takes the time
WORK = 3e10  # multiply-adds of a trial step, about
IMAGES = 16  # of a trial step, where so many do not take longer than that
ROUNDS = 3
GAIN = 1.1  # by which a reduced precision must be faster, to be chosen
SAFETY = 0.95  # of the time budget is planned


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


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A few steps with copies of the network, so that nothing of the run itself has happened.

    Args:
        network: On its device; not changed.
        batches: Of the run.
        loss: Of the run.
        fabric: Launched.
        macs: Multiply-adds for one image; None where they are not known.
        validation: How many images are judged after each epoch.
    """

    network: nn.Module
    batches: TrainingBatches
    loss: Loss
    fabric: Fabric
    macs: int | None
    validation: int

    def settled(self, options: TrainingOptions) -> tuple[TrainingOptions, Measured]:
        """The options without anything left to choose, and what was measured; the same in all ranks.

        Raises:
            MachineError: not even one image fits into memory.
        """
        options, notes = self._parts(options)
        options, measured, more = self._precision(options)
        data = self._data()
        step = measured[options.execution.precision][0]
        judged = measured[options.execution.precision][1] * self.validation / self.batches.ranks
        found = Measured(
            step={name: seconds for name, (seconds, _) in measured.items()},
            data=data,
            validation=judged,
            notes=notes + more,
        )
        if options.time_budget > 0:
            options = self._epochs(options, step + data, judged, found.notes).but(time_budget=0.0)
        settled: tuple[TrainingOptions, Measured] = self.fabric.broadcast((options, found))
        return settled

    def _parts(self, options: TrainingOptions) -> tuple[TrainingOptions, list[str]]:
        if options.update.accumulate > 0:
            return options, []
        images = options.batch_size // self.batches.ranks
        tried = options.but(accumulate=1, precision="float32" if self._auto(options) else options.execution.precision)
        largest = memory_of(self.network, self._image, images, tried, self.fabric.device).largest
        parts = parts_that_fit(images, images if largest is None else largest)
        if parts is None:
            raise MachineError("not even one image fits into memory; choose a smaller network or --image-size")
        return options.but(accumulate=parts), [
            f"batch {options.batch_size:,} in {parts} part{'s' if parts > 1 else ''} of {images // parts:,} images"
        ]

    def _precision(self, options: TrainingOptions) -> tuple[TrainingOptions, dict[str, tuple[float, float]], list[str]]:
        device = self.fabric.device
        names = candidates(self.network, device) if self._auto(options) else (options.execution.precision,)
        part = options.batch_size // self.batches.ranks // options.update.accumulate
        if len(names) > 1 and self.macs is not None and self.macs * part < SMALL:
            names = names[:1]
        images = (
            part
            if self.macs is None
            else min(part, max(2, int(min(WORK / self.macs, max(IMAGES, SMALL * 5 / self.macs)))))
        )
        batch = next(self.batches.epoch(0)).between(0, images)
        scale = part / images * options.update.accumulate
        with explained_memory(self.network, self._image, images, options, device):
            found = self._timed(options, names, batch)
        timed = {name: (update * scale, forward / images) for name, (update, forward) in found.items()}
        best = min(timed, key=lambda name: timed[name][0])
        chosen = best if timed[best][0] * GAIN < timed[names[0]][0] else names[0]
        notes = []
        if self._auto(options):
            tried = ", ".join(f"{name} {seconds * 1000:,.1f} ms" for name, (seconds, _) in timed.items())
            notes = [f"precision {chosen}, of {tried} a step" if len(names) > 1 else f"precision {chosen}"]
        return options.but(precision=chosen), timed, notes

    def _timed(self, options: TrainingOptions, names: tuple[str, ...], batch: Batch) -> dict[str, tuple[float, float]]:
        """Seconds of an update and of judging, the least of a few rounds in turn."""
        works = {name: self._works(options, name, batch) for name in names}
        for update, judge in works.values():
            update()
            judge()
        least = dict.fromkeys(names, (math.inf, math.inf))
        for _ in range(ROUNDS):
            for name, (update, judge) in works.items():
                least[name] = (min(least[name][0], self._seconds(update)), min(least[name][1], self._seconds(judge)))
        return least

    def _works(
        self, options: TrainingOptions, precision: str, batch: Batch
    ) -> tuple[Callable[[], None], Callable[[], None]]:
        network = copy.deepcopy(self.network).train()
        options = options.but(precision=precision, accumulate=1)
        forward = Forward(network, precision, self.fabric.device)
        step = Step(
            fabric=self.fabric,
            forward=forward,
            loss=self.loss,
            optimiser=optimisers.build(network, options.update),
            options=options,
        )

        def update() -> None:
            with arranged(network, precision):
                step(batch, 0, 0.0)

        def judge() -> None:
            network.eval()
            with torch.inference_mode():
                network(batch.images)
            network.train()

        return update, judge

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

    def _epochs(self, options: TrainingOptions, step: float, judged: float, notes: list[str]) -> TrainingOptions:
        left, epochs = SAFETY * 60 * options.time_budget, 0
        while left > 0 and epochs < 100_000:
            side = side_in(epochs, options, self._image[1]) / self._image[1]
            left -= step * side**2 * len(self.batches) + judged
            epochs += left > 0
        fits = max(1, epochs)
        few = "" if epochs else "; not even one epoch is expected to fit"
        notes.append(f"{fits:,} epochs for a budget of {options.time_budget:g} minutes{few}")
        return fitted(options, fits)

    def _auto(self, options: TrainingOptions) -> bool:
        return options.execution.precision == "auto"

    def _images(self) -> int:
        """Of a trial step: enough to be like the run's, few enough to be done at once."""
        if self.macs is None:
            return IMAGES
        return max(2, int(min(WORK / self.macs, max(IMAGES, 5 * SMALL / self.macs))))

    @property
    def _image(self) -> tuple[int, int]:
        spec = self.batches.fitted.preprocessing
        return spec.in_channels, spec.image_size
