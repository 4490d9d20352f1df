"""The learning rate of each step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fovea.training.options import Rate, TrainingOptions

ONE_CYCLE_RISE = 25.0  # one_cycle begins at lr over this
ONE_CYCLE_FALL = 1e4  # and ends at its beginning over this
MILESTONES = (0.5, 0.75)  # shares of the run, where steps is given none
CONSTANT_WARMUP = 0.1  # share of lr during a constant warm-up: 0.01 of 0.1 in ResNet's paper
WARMUP_SHARE = 0.1  # of a fitted run that a warm-up may take


def learning_rate(
    step: int, steps_per_epoch: int, options: TrainingOptions, history: Sequence[Mapping[str, Any]] = ()
) -> float:
    """The learning rate of a step; a function of what is given alone, so that resuming changes nothing.

    All schedules but one_cycle begin with a warm-up: a linear one ends just below `lr`, a constant one has a tenth of
    it. After it, over the steps that remain, cosine and polynomial fall from `lr` to `lowest_lr`, cosine as often as
    `cycles` says. The stairs of steps and exponential are counted from the first step of the run, as papers and
    TensorFlow count them, not from the end of the warm-up. one_cycle rises from lr/25 and falls to lr/250,000, or to
    `lowest_lr`, by half cosines. With `swa_epochs` the rate stays, over the last of them, where the schedule has it at
    their beginning. `max_steps` cuts the schedule and does not fit it.

    Args:
        step: Counted from 0 over the whole run.
        steps_per_epoch: Steps of each epoch.
        options: The recipe.
        history: Rows of the finished epochs; plateau reads their "validation_accuracy".

    Source: Goyal et al. 2017, arXiv:1706.02677 (linear warm-up); He et al. 2015, arXiv:1512.03385, section 4.2
    (constant warm-up); Loshchilov and Hutter 2016, arXiv:1608.03983 (cosine); Huang et al. 2017, arXiv:1704.00109
    (cycles); Smith and Topin 2017, arXiv:1708.07120 (one_cycle); Szegedy et al. 2014, arXiv:1409.4842 (polynomial;
    steps of 0.96); Tan and Le 2019, arXiv:1905.11946 (exponential); Izmailov et al. 2018, arXiv:1803.05407 (constant at
    the end).
    """
    if options.averaging.swa_epochs > 0:
        step = min(step, (options.epochs - options.averaging.swa_epochs) * steps_per_epoch)
    lr, rate = options.update.lr, options.rate
    total = options.epochs * steps_per_epoch
    warmup = min(round(rate.warmup_epochs * steps_per_epoch), total - 1)
    if rate.schedule == "one_cycle":
        return _one_cycle(step, warmup, total, lr=lr, lowest=rate.lowest_lr)
    if step < warmup:
        return lr * CONSTANT_WARMUP if rate.warmup == "constant" else lr * (step + 1) / (warmup + 1)
    if rate.schedule == "constant":
        return lr
    after, length = step - warmup, total - warmup
    if rate.schedule == "cosine":
        fallen = after * rate.cycles % length  # of a cycle, in parts of the length
        return rate.lowest_lr + (lr - rate.lowest_lr) * 0.5 * (1 + math.cos(math.pi * fallen / length))
    if rate.schedule == "polynomial":
        return rate.lowest_lr + (lr - rate.lowest_lr) * float((1 - after / length) ** rate.power)
    if rate.schedule == "plateau":
        stairs = _plateaus(history[: step // steps_per_epoch], rate, first=warmup // steps_per_epoch)
    else:
        stairs = _stairs(step / steps_per_epoch, options)
    return max(rate.lowest_lr, lr * float(rate.factor**stairs))


def fitted(options: TrainingOptions, epochs: int) -> TrainingOptions:
    """The options of a run of another length, with a schedule that fits it.

    Milestones, `decay_epochs`, `plateau_epochs`, `swa_epochs` and the rise of one_cycle keep their share of the run. A
    warm-up guards the first steps whatever follows, and stays as long as it is; only where it would take more than a
    tenth of the run is it cut, to a tenth or to the share that it had.

    Raises:
        UsageError: epochs is below 1.
    """
    rate, ratio = options.rate, epochs / options.epochs
    warmup = rate.warmup_epochs * ratio
    if rate.schedule != "one_cycle":
        warmup = min(rate.warmup_epochs, max(warmup, WARMUP_SHARE * epochs))
    averaged = options.averaging.swa_epochs
    return dataclasses.replace(
        options,
        epochs=epochs,
        rate=dataclasses.replace(
            rate,
            warmup_epochs=warmup,
            milestones=tuple(milestone * ratio for milestone in rate.milestones),
            decay_epochs=rate.decay_epochs * ratio,
            plateau_epochs=max(1, round(rate.plateau_epochs * ratio)),
        ),
        averaging=dataclasses.replace(
            options.averaging, swa_epochs=min(max(1, round(averaged * ratio)), epochs - 1) if averaged else 0
        ),
    )


def _one_cycle(step: int, warmup: int, total: int, *, lr: float, lowest: float) -> float:
    """Up to lr at the warm-up's last step, down to the end at the run's last step."""
    peak, first = max(warmup - 1, 0), lr / ONE_CYCLE_RISE
    if step <= peak:
        return _half_cosine(first, lr, step / peak) if peak else lr
    return _half_cosine(lr, max(lowest, first / ONE_CYCLE_FALL), (step - peak) / (total - 1 - peak))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


def _stairs(epoch: float, options: TrainingOptions) -> int:
    """How often steps or exponential has multiplied, so many epochs after the beginning."""
    late = epoch + 1e-9  # epochs are quotients: what should be a whole number may lie just below it
    if options.rate.schedule == "exponential":
        return math.floor(late / options.rate.decay_epochs)
    milestones = options.rate.milestones or tuple(share * options.epochs for share in MILESTONES)
    return sum(late >= milestone for milestone in milestones)


def _plateaus(history: Sequence[Mapping[str, Any]], rate: Rate, *, first: int) -> int:
    """How often plateau has multiplied; epochs that end within the warm-up set the best, and are not waited for."""
    best, waited, stairs = -math.inf, 0, 0
    for place, row in enumerate(history):
        better = row["validation_accuracy"] > best
        best = max(best, row["validation_accuracy"]) if better else best
        waited = 0 if better or place < first else waited + 1
        if waited == rate.plateau_epochs:
            waited, stairs = 0, stairs + 1
    return stairs
