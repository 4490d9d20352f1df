"""Recipes for weights that are there already, and the reference that starts from scratch beside them."""

from __future__ import annotations

import math

from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.task import Task

FEWEST, MOST = 3, 30  # epochs


def finetune(task: Task) -> TrainingOptions:
    """Fine-tuning weights that are there: few epochs at a low rate, lower stages slower; as many images as there are.

    Ours: SGD, each stage at 0.8 of the rate of the one above it, half a cosine, boxes of half the image or more,
    mirrored; 300 / √images epochs. Command: fovea train mobilenet_v2 FOLDER --weights BUNDLE. Measured on Hymenoptera
    by `fovea transfer`; duration and accuracy stand in docs/results.md.
    """
    return finetune_for(task.images, photographs=task.photographs)


def finetune_for(images: int, *, photographs: bool = True) -> TrainingOptions:
    """Fine-tuning on so many images: 300 / √images epochs, from 3 to 30, in batches of 32, from 10,000 on of 64.

    Args:
        images: From 100 to 100,000 or so.
        photographs: Vary them by boxes and mirroring; others (digits, signs) by small shifts and rotations alone.
    """
    told = options(
        epochs=min(MOST, max(FEWEST, round(300 / math.sqrt(images)))),
        batch_size=64 if images >= 10_000 else 32,
        lr=0.01,
        weight_decay=1e-4,
        warmup_epochs=1.0,
        label_smoothing=0.1,
        layer_decay=0.8,
    )
    return told.but(crop="area", area=(0.5, 1.0), flip=True) if photographs else told.but(shift=4, rotate=5.0, zoom=0.1)


def scratch_for(images: int, *, photographs: bool = True) -> TrainingOptions:
    """From scratch beside fine-tuning: as it varies the images, twice its epochs, five times its learning rate.

    Args:
        images: How many there are to train on.
        photographs: As for `finetune_for`.
    """
    told = finetune_for(images, photographs=photographs)
    return told.but(epochs=2 * told.epochs, lr=0.05, layer_decay=1.0, weight_decay=5e-4, warmup_epochs=2.0)
