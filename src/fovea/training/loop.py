"""The loop: data, forward, loss, backward, update, validate, record. Everything else is a value passed in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from fovea import randomness
from fovea.data.batch import Batch
from fovea.data.loader import TrainingBatches
from fovea.errors import NumbersError, Stopped
from fovea.evaluation.scores import Scores
from fovea.layers.drop_path import schedule_drop_path
from fovea.training import checkpoints, folder
from fovea.training.averaging import WeightAverage
from fovea.training.checkpoints import Progress, State
from fovea.training.console import Console
from fovea.training.forward import Forward
from fovea.training.guard import Guard, diagnosed, gradient_norm
from fovea.training.losses import Loss
from fovea.training.options import TrainingOptions
from fovea.training.ranks import Ranks
from fovea.training.resizing import resized, side_in
from fovea.training.saving import Saving
from fovea.training.schedules import learning_rate
from fovea.training.stages import Stagewise
from fovea.training.stopping import StopFlag
from fovea.training.towers.apart import TowersApart
from fovea.training.watching.layers import LayerWatch
from fovea.training.watching.watcher import Watcher

SUMS = 3  # of an epoch: loss times images, right ones, gradient norms


@dataclass(kw_only=True)
class Step:
    """One update of the weights.

    Args:
        fabric: Device, and backward passes.
        ranks: The processes of the run.
        forward: The network as it trains, as Fabric set it up: images to outputs.
        loss: What is minimised.
        optimiser: What updates the weights.
        options: The recipe.
        average: Of the weights, where there is one.
        towers: The network, where it lies on two devices.
        resting: Parameters whose gradients are dropped.
        layers: What watches the updates layer by layer, where it is asked for.
    """

    fabric: Fabric
    ranks: Ranks
    forward: Any
    loss: Loss
    optimiser: torch.optim.Optimizer
    options: TrainingOptions
    average: WeightAverage | None = None
    towers: TowersApart | None = None
    resting: Sequence[Tensor] = ()
    layers: LayerWatch | None = None

    def __post_init__(self) -> None:
        device, self.rate = self.fabric.device, 0.0  # of the last step
        self.guard = Guard(device)
        self.sums = torch.zeros(SUMS, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        groups = self.optimiser.param_groups
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimiser.found_inf = self.guard.raised  # type: ignore[attr-defined]  # where torch's optimisers look

    def __call__(self, batch: Batch, number: int, rate: float) -> None:
        """Forward, loss, backward, update; nothing here waits for the device.

        Args:
            batch: This process's images and labels.
            number: The step, counted from 0.
            rate: The learning rate.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        seed_step(self.options.seed, number, self.ranks.rank, self.fabric.device)
        self.rate = rate
        loss, right = self._gradients(batch)
        for parameter in self.resting:
            parameter.grad = None
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = self.towers.gradient_norm() if self.towers else gradient_norm(gradients)
        self.guard.check(loss, norm)
        if self.options.update.clip > 0:
            factor = (self.options.update.clip / (norm + 1e-6)).clamp(max=1.0)
            self.towers.scale_gradients(factor) if self.towers else torch._foreach_mul_(gradients, factor)
        with self.layers.observing(number, self.guard.raised) if self.layers else nullcontext():
            self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.step(number + 1)
        self.sums += torch.stack((loss * len(batch.labels), right, norm))  # in one go: each small operation takes time
        self.guard.post(number)

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss and how many are right, after the backward pass of each part; ranks share gradients at the last one."""
        parts, found = self.options.update.accumulate, []
        for place, part in enumerate(batch.parts(parts) if parts > 1 else [batch], start=1):
            with self.fabric.no_backward_sync(self.forward) if self._waits(place < parts) else nullcontext():
                outputs = self.forward(part.images)
                loss = self.loss(outputs, part)
                if parts > 1:
                    loss = loss / parts
                if self.ranks.count > 1:  # a loss that is not finite on one rank makes the gradients so on all
                    loss = loss * (1 + 0 * loss.detach())
                self.fabric.backward(loss)
            logits = outputs if isinstance(outputs, Tensor) else outputs[0]
            right = (logits.detach().argmax(dim=1) == part.labels).sum(dtype=torch.float32)
            found.append((loss.detach(), right))
        losses, rights = zip(*found, strict=True)
        return sum(losses[1:], losses[0]), sum(rights[1:], rights[0])

    def _waits(self, more: bool) -> bool:
        return more and self.ranks.count > 1


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One run of training, from where its progress stands to the last step.

    Args:
        step: What one update does.
        plain: The network as it trains, of this process alone.
        stages: What of the network learns in an epoch.
        state: What a checkpoint holds.
        batches: Images and labels of each epoch.
        validate: Judges the network as it is.
        options: The recipe, with everything settled.
        run: The run folder.
        console: Where progress is told.
        stop: The flag that a signal sets.
        watchers: What is shown all rows after each epoch.
        changes: What is not as it was when the run began.
    """

    step: Step
    plain: Forward
    stages: Stagewise
    state: State
    batches: TrainingBatches
    validate: Callable[[], Scores]
    options: TrainingOptions
    run: Path
    console: Console
    stop: StopFlag
    watchers: Sequence[Watcher] = ()
    changes: Sequence[str] = ()

    def fit(self, *, resume: bool) -> Progress:
        """Train until the last epoch is recorded, from the beginning or from the last checkpoint.

        Raises:
            ModelError: the checkpoint is damaged or of another network.
            NumbersError: a number is NaN or infinite; the update was not made, and the last checkpoint is from before.
            Stopped: a signal came; everything is saved.
        """
        progress, saving = self._start(resume), Saving(self.options.keeping)
        steps, stop = len(self.batches), False
        while not self._ended(progress):
            epoch, done = divmod(progress.step, steps)
            until = min(steps, self._last_step - epoch * steps)
            side = side_in(epoch, self.options, self.batches.fitted.preprocessing.image_size)
            self.stages.begin(epoch)
            self.step.resting = self.stages.resting
            schedule_drop_path(self.plain.network, epoch / self.options.epochs)
            started, waited = time.perf_counter(), 0.0
            batches = self.batches.epoch(epoch, start=done)
            for place in range(done, until):
                before = time.perf_counter()
                batch = self.step.fabric.to_device(next(batches))
                waited += time.perf_counter() - before

                rate = learning_rate(progress.step, steps, self.options, progress.history)
                self.step(resized(batch, side), progress.step, rate)
                progress.step += 1
                self._check()
                self.console.step(epoch + 1, place + 1, steps)

                stop, due = self.step.ranks.agreed(self.stop.signal_number is not None, saving.due(progress.step))
                if (stop or due) and place + 1 < until:
                    self._save(progress, [checkpoints.LAST])
                    saving.saved()
                if stop and place + 1 < until:
                    self._stopped(progress)
            batches.close()
            seconds = time.perf_counter() - started
            speed = (until - done) * self.batches.batch_size / seconds
            self._record(progress, {"images_per_second": speed, "data_wait": waited / seconds, "seconds": seconds})
            saving.saved()
            if stop and not self._ended(progress):
                self._stopped(progress)
        return progress

    @property
    def _last_step(self) -> int:
        whole = self.options.epochs * len(self.batches)
        return min(whole, self.options.max_steps or whole)

    def _ended(self, progress: Progress) -> bool:
        patience, best = self.options.patience, progress.best
        if patience and best is not None and len(progress.history) - best["epoch"] >= patience:
            return True
        return progress.step >= self._last_step

    def _start(self, resume: bool) -> Progress:
        ranks = self.step.ranks
        if resume and (self.run / checkpoints.LAST).exists():
            progress = checkpoints.load(self.run / checkpoints.LAST, self.state)
            self.state.spread()
            if len(progress.running) == ranks.count:
                own = progress.running[ranks.rank]
            else:  # begun by another number of processes: the first one carries what they had added up
                columns = [sum(column) for column in zip(*progress.running, strict=True)]
                own = columns if ranks.rank == 0 else [0.0] * SUMS
            self.step.sums.copy_(torch.tensor(own, dtype=self.step.sums.dtype))
            progress.changes += [f"from step {progress.step + 1:,} on: {change}" for change in self.changes]
            return progress
        progress = Progress()
        self._save(progress, [checkpoints.LAST])
        return progress

    def _check(self, *, now: bool = False) -> None:
        """Stop where the guard has seen something; the update was not made, nor any after it."""
        bad = self.step.guard.seen(now=now)
        if bad is None:
            return
        epoch, place = divmod(bad, len(self.batches))
        batch = next(self.batches.epoch(epoch, start=place))
        side = side_in(epoch, self.options, self.batches.fitted.preprocessing.image_size)
        seed_step(self.options.seed, bad, self.step.ranks.rank, self.step.fabric.device)
        names = [self.batches.fitted.images.name(int(index)) for index in self.batches.share(epoch, place)]
        where = diagnosed(self.plain, resized(self.step.fabric.to_device(batch), side), self.step.loss, names)
        kept = self.run / checkpoints.LAST
        saved = checkpoints.load(kept, self.state)
        raise NumbersError(
            f"step {bad + 1:,} (epoch {epoch + 1}) is not finite: {where}; its update was not made; step "
            f"{saved.step:,} is kept in {kept}; correct the data, or try a smaller learning rate than "
            f"--lr {self.options.update.lr:g}"
        )

    def _record(self, progress: Progress, timed: dict[str, float]) -> None:
        self._check(now=True)
        average = self.step.average
        if average is not None:
            average.epoch(progress.step // len(self.batches))
        loss, right, norms = (sum(column) for column in zip(*self.step.ranks.gathered(self.step.sums), strict=True))
        self.step.sums.zero_()
        scores, epoch = self.validate(), len(progress.history) + 1
        if not math.isfinite(scores.negative_log_likelihood):
            raise NumbersError(
                f"the validation loss is {scores.negative_log_likelihood} after epoch {epoch}; what was saved before "
                f"is kept in {self.run / checkpoints.LAST}; try a smaller learning rate than "
                f"--lr {self.options.update.lr:g}"
            )
        steps = progress.step - (epoch - 1) * len(self.batches)
        images = steps * self.batches.batch_size
        row: dict[str, Any] = {
            "epoch": epoch,
            "loss": loss / images,
            "accuracy": right / images,
            "validation_loss": scores.negative_log_likelihood,
            "validation_accuracy": scores.top1,
            "learning_rate": self.step.rate,
            "gradient_norm": norms / self.step.ranks.count / steps,
            **timed,
        }
        better = progress.best is None or _rank(row) > _rank(progress.best)
        progress.history.append(row)
        progress.best = row if better else progress.best
        kept = checkpoints.snapshots(epoch, self.options.keeping.snapshot_epochs)
        self._save(progress, [*kept, *([checkpoints.BEST] if better else []), checkpoints.HEALTHY, checkpoints.LAST])
        if self.step.ranks.writes:
            folder.write_history(self.run, progress.history)
            for watcher in self.watchers:
                watcher(progress.history)
        left = (self._last_step - progress.step) / len(self.batches)
        self.console.epoch(row, self.options.epochs, row["seconds"] * left)

    def _save(self, progress: Progress, names: list[str]) -> None:
        self._check(now=True)
        progress.running = self.step.ranks.gathered(self.step.sums)
        self.state.gather()
        if self.step.ranks.writes:
            checkpoints.save(self.run, names, self.state, progress)

    def _stopped(self, progress: Progress) -> None:
        epoch = progress.step // len(self.batches) + 1
        raise Stopped(
            f"stopped and saved at step {progress.step:,} (epoch {epoch}); go on with: fovea train --resume {self.run}",
            self.stop.signal_number or 15,
        )


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Set torch's generators to where a step starts from: dropout and its kin are functions of (seed, step, rank)."""
    key = randomness.key(seed, "step", step, rank)
    if device.type == "cpu":  # torch.manual_seed would note a traceback for a GPU that nobody uses: half a millisecond
        torch.default_generator.manual_seed(key)
    else:
        torch.manual_seed(key)


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    return row["validation_accuracy"], -row["validation_loss"]
