"""A good answer in minutes."""

from __future__ import annotations

from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.modern import LARGE, rate_for, varied
from fovea.training.recipes.task import ONE_SIZE, Task

MINUTES = 3.0
EPOCHS = 20  # for which the shares are told; how many there are is measured


def quick(task: Task) -> TrainingOptions:
    """A good answer in three minutes: one cycle over as many epochs as fit, on small images first where they are large.

    Ours, after Smith and Topin 2017 (arXiv:1708.07120) and Howard 2018 (fast.ai's DAWNBench entry). Command: fovea
    train NET DATA --recipe quick; --time-budget says other minutes. Not run by us: no accuracy is promised.

    How many epochs fit is measured on this machine before the first step, and written into the configuration. The rate
    rises over a fifth of the run to 0.2 per 128 images (depthwise and unnormalised networks less, as in modern), and
    falls over the rest. From 96 pixels on images begin at half the side, rounded to 32, where the network takes other
    sizes than its own. Variation is light: a short run has seen little twice.
    """
    batch = 128 if task.images >= 2_000 else 32
    told = options(
        epochs=EPOCHS,
        time_budget=MINUTES,
        batch_size=batch,
        lr=rate_for(task, 0.2 * batch / 128),
        schedule="one_cycle",
        warmup_epochs=0.2 * EPOCHS,
        label_smoothing=0.1,
    )
    growing = task.side >= LARGE and not task.is_one_of(ONE_SIZE)
    smallest = max(64, round(task.side / 2 / 32) * 32) if growing else 0
    return varied(told, task, policy=False).but(smallest_size=smallest)
