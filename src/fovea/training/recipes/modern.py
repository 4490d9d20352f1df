"""What usually wins today, fitted to the family of the network and to the size of the data."""

from __future__ import annotations

import math

from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.task import DEPTHWISE, UNNORMALISED, Task

FEWEST, MOST = 60, 300  # epochs
LONG = 10_000  # training images from which a long run is mixed: fewer are varied enough without
LARGE = 96  # pixels of a side from which images are cut by boxes, not shifted
AVERAGES = ((100_000, 0.9999), (5_000, 0.999), (0, 0.99))  # from so many steps on, the average's decay


def modern(task: Task) -> TrainingOptions:
    """What usually wins today: Nesterov, warm-up and half a cosine, label smoothing, averaged weights, rich variation.

    Ours, after Goyal et al. 2017 (arXiv:1706.02677), Szegedy et al. 2015 (arXiv:1512.00567), Müller and Hutter 2021
    (arXiv:2103.10158) and Yun et al. 2019 (arXiv:1905.04899). Command: fovea train NET DATA --recipe modern. Not run by
    us: rates, lengths and strengths are choices, and no accuracy is promised.

    It fits itself. 20,000 / √images epochs, from 60 to 300; batches of 128, of 32 below 2,000 images. The rate is 0.1
    per 128 images; half of it with little decay for depthwise networks (MobileNets, MnasNet, EfficientNet, searched
    cells), four tenths for those without batch normalisation. Photographs are cut by boxes, or below 96 pixels shifted
    by an eighth; mirrored, and varied by TrivialAugment; from 10,000 of them on CutMix pastes, too. Others, such as
    digits, are shifted, rotated and zoomed a little, and never mirrored. Dropout and the like are the network's.
    """
    epochs = min(MOST, max(FEWEST, round(20_000 / math.sqrt(task.images))))
    batch = 128 if task.images >= 2_000 else 32
    decay = next(decay for least, decay in AVERAGES if epochs * task.images / batch >= least)
    told = options(
        epochs=epochs,
        batch_size=batch,
        lr=rate_for(task, 0.1 * batch / 128),
        weight_decay=4e-5 if task.is_one_of(DEPTHWISE) else 5e-4,
        warmup_epochs=5.0,
        label_smoothing=0.1,
        ema=decay,
    )
    return varied(told, task).but(cutmix=1.0 if task.photographs and task.images >= LONG else 0.0)


def rate_for(task: Task, usual: float) -> float:
    """The learning rate where the usual one is that of a network with full convolutions and batch normalisation."""
    share = 0.5 if task.is_one_of(DEPTHWISE) else 0.4 if task.is_one_of(UNNORMALISED) else 1.0
    return usual * share


def varied(told: TrainingOptions, task: Task, *, policy: bool = True) -> TrainingOptions:
    """The options with what images of this kind and size bear.

    Args:
        told: All others.
        task: What is to be learned.
        policy: Vary photographs by TrivialAugment, too.
    """
    if not task.photographs:
        return told.but(shift=max(1, task.side // 16), rotate=10.0, zoom=0.1)
    told = told.but(flip=True, policy="trivialaugment" if policy else "none")
    return told.but(crop="area", area=(0.25, 1.0)) if task.side >= LARGE else told.but(shift=max(1, task.side // 8))
