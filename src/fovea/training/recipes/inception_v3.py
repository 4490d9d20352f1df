"""Inception v3's recipe of 2015."""

from __future__ import annotations

from fovea.data.augmentation.presets import inception
from fovea.training.options import TrainingOptions, options


def inception_v3() -> TrainingOptions:
    """Inception v3 on ImageNet: RMSProp with a large epsilon, label smoothing, clipped gradients, averaged weights.

    Szegedy et al. 2015, arXiv:1512.00567, sections 7 and 8. Command: fovea train inception_v3 imagenet --recipe paper
    --option auxiliary=true. Not run by us. The paper reports 100 epochs on 50 replicas of 32 images each, and 21.2 %
    top-1 and 5.6 % top-5 error on ImageNet's validation images (one crop).

    The replicas updated the weights each by itself, so that a batch is 32; a run with batches of 1,600 is another
    experiment. Momentum of 0.9 beside RMSProp, the average's 0.9999, weight decay 4e-5 and the auxiliary 0.4 are the
    released code's (from memory); of momentum the paper speaks for its earlier runs. Dropout 0.2 comes from the
    network. The augmentation is from memory.
    """
    told = options(
        epochs=100,
        batch_size=32,
        optimiser="rmsprop",
        lr=0.045,
        momentum=0.9,
        second_moment=0.9,
        epsilon=1.0,
        weight_decay=4e-5,
        clip=2.0,
        schedule="exponential",
        factor=0.94,
        decay_epochs=2.0,
        warmup_epochs=0.0,
        label_smoothing=0.1,
        auxiliary=0.4,
        ema=0.9999,
    )
    return told.but(augmentation=inception())
