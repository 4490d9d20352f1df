"""The loop: data, forward, loss, backward, update, validate, record. Everything else is a value passed in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from fovea import randomness
from fovea.data.loader import TrainingBatches
from fovea.errors import NumbersError, Stopped
from fovea.evaluation.scores import Scores
from fovea.layers.drop_path import schedule_drop_path
from fovea.training import checkpoints, folder
from fovea.training.checkpoints import Progress
from fovea.training.console import Console
from fovea.training.losses import criterion
from fovea.training.optimisers import learning_rate
from fovea.training.options import TrainingOptions
from fovea.training.stopping import StopFlag


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One run of training, from where its progress stands to the last epoch.

    Args:
        fabric: Device, precision and ranks.
        network, optimiser: What is trained, and by what; on the fabric's device.
        batches: Images and labels of each epoch.
        validate: Judges the network as it is.
        options: The recipe.
        run: The run folder.
        console: Where progress is told.
        stop: The flag that a signal sets.
    """

    fabric: Fabric
    network: nn.Module
    optimiser: torch.optim.Optimizer
    batches: TrainingBatches
    validate: Callable[[], Scores]
    options: TrainingOptions
    run: Path
    console: Console
    stop: StopFlag

    def fit(self, *, resume: bool) -> Progress:
        """Train until the last epoch is recorded, from the beginning or from the last checkpoint.

        Raises:
            ModelError: the checkpoint is damaged or of another network.
            NumbersError: the loss is NaN or infinite; the last checkpoint is from before.
            Stopped: a signal came; everything is saved.
        """
        forward, optimiser = self.fabric.setup(self.network, self.optimiser)
        progress = self._start(resume)
        loss_function = criterion(self.options)
        steps = len(self.batches)
        while progress.step < self.options.epochs * steps:
            epoch, done = divmod(progress.step, steps)
            self.network.train()
            schedule_drop_path(self.network, epoch / self.options.epochs)
            started, waited = time.perf_counter(), 0.0
            batches = self.batches.epoch(epoch, start=done)
            for step in range(done, steps):
                before = time.perf_counter()
                batch = self.fabric.to_device(next(batches))
                waited += time.perf_counter() - before

                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(progress.step, steps, self.options)
                torch.manual_seed(randomness.key(self.options.seed, "step", progress.step, self.fabric.global_rank))
                logits = forward(batch.images)
                loss = loss_function(logits, batch.targets(logits.shape[1]))
                value = loss.item()
                self._check(value, progress)
                self.fabric.backward(loss)
                optimiser.step()
                optimiser.zero_grad()

                progress.step += 1
                progress.loss_sum += value * len(batch.labels)
                progress.correct += int((logits.argmax(dim=1) == batch.labels).sum())
                progress.seen += len(batch.labels)
                self.console.step(epoch + 1, step + 1, steps)
                if self._stopping() and step + 1 < steps:
                    self._save_and_stop(progress)
            seconds, images = time.perf_counter() - started, (steps - done) * self.batches.batch_size
            self._record(progress, seconds=seconds, waited=waited, images=images)
            if self._stopping() and progress.step < self.options.epochs * steps:
                self._save_and_stop(progress)
        return progress

    def _start(self, resume: bool) -> Progress:
        if resume and (self.run / checkpoints.LAST).exists():
            return checkpoints.load(self.run / checkpoints.LAST, self.network, self.optimiser)
        if self.fabric.is_global_zero:
            checkpoints.save(self.run / checkpoints.LAST, self.network, self.optimiser, Progress())
        return Progress()

    def _check(self, loss: float, progress: Progress) -> None:
        if not math.isfinite(loss):
            epoch = progress.step // len(self.batches) + 1
            raise NumbersError(
                f"the loss is {loss} at step {progress.step + 1:,} (epoch {epoch}); "
                f"the weights before it are kept in {self.run / checkpoints.LAST}; "
                f"try a smaller learning rate than --lr {self.options.lr:g}"
            )

    def _record(self, progress: Progress, *, seconds: float, waited: float, images: int) -> None:
        scores, epoch = self.validate(), len(progress.history) + 1
        if not math.isfinite(scores.negative_log_likelihood):
            raise NumbersError(
                f"the validation loss is {scores.negative_log_likelihood} after epoch {epoch}; what was saved before "
                f"is kept in {self.run / checkpoints.LAST}; try a smaller learning rate than --lr {self.options.lr:g}"
            )
        row: dict[str, Any] = {
            "epoch": epoch,
            "loss": progress.loss_sum / progress.seen,
            "accuracy": progress.correct / progress.seen,
            "validation_loss": scores.negative_log_likelihood,
            "validation_accuracy": scores.top1,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "images_per_second": images / seconds,
            "data_wait": waited / seconds,
            "seconds": seconds,
        }
        better = progress.best is None or _rank(row) > _rank(progress.best)
        progress.history.append(row)
        progress.best = row if better else progress.best
        progress.loss_sum, progress.correct, progress.seen = 0.0, 0, 0
        if self.fabric.is_global_zero:
            for name in [checkpoints.BEST, checkpoints.LAST] if better else [checkpoints.LAST]:
                checkpoints.save(self.run / name, self.network, self.optimiser, progress)
            folder.write_history(self.run, progress.history)
        self.console.epoch(row, self.options.epochs, seconds * (self.options.epochs - epoch))

    def _stopping(self) -> bool:
        asked = self.stop.signal_number is not None
        if self.fabric.world_size == 1:
            return asked
        return bool(self.fabric.all_reduce(torch.tensor(float(asked)), reduce_op="max"))

    def _save_and_stop(self, progress: Progress) -> None:
        if self.fabric.is_global_zero:
            checkpoints.save(self.run / checkpoints.LAST, self.network, self.optimiser, progress)
        epoch = progress.step // len(self.batches) + 1
        raise Stopped(
            f"stopped and saved at step {progress.step:,} (epoch {epoch}); go on with: fovea train --resume {self.run}",
            self.stop.signal_number or 15,
        )


def _rank(row: dict[str, Any]) -> tuple[float, float]:
    return row["validation_accuracy"], -row["validation_loss"]
