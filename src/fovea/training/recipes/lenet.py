"""Recipes for LeNet-5 and its kin on small grey images."""

from __future__ import annotations

from fovea.data.options import Augmentation
from fovea.training.options import TrainingOptions


def digits() -> TrainingOptions:
    """LeNet-5 on scikit-learn's 1,797 digits."""
    return TrainingOptions(
        epochs=60,
        batch_size=32,
        lr=0.03,
        weight_decay=1e-3,
        warmup_epochs=2.0,
        label_smoothing=0.05,
        augmentation=Augmentation(shift=3, rotate=12.0, zoom=0.12),
    )


def mnist() -> TrainingOptions:
    """LeNet-5 on MNIST."""
    return TrainingOptions(
        epochs=12,
        batch_size=128,
        lr=0.06,
        weight_decay=5e-4,
        warmup_epochs=1.0,
        augmentation=Augmentation(shift=2),
    )


def lenet5_1998() -> TrainingOptions:
    """LeNet-5 as of 1998 on MNIST, with its own loss."""
    return TrainingOptions(
        epochs=16,
        batch_size=64,
        lr=0.001,
        nesterov=False,
        weight_decay=0.0,
        warmup_epochs=1.0,
        loss="map",
        mean=(0.1 / 1.275,),
        std=(1 / 1.275,),
    )
