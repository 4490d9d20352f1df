"""Recipes for DenseNet of 2016, on ImageNet and on CIFAR."""

from __future__ import annotations

from fovea.data.augmentation.presets import cifar
from fovea.training.options import TrainingOptions, options


def densenet() -> TrainingOptions:
    """DenseNet on ImageNet: Nesterov's momentum, 90 epochs of 256 images, the rate a tenth after 30 and 60.

    Huang et al. 2016, arXiv:1608.06993, section 4.2. Command: fovea train densenet121 imagenet --recipe paper. Not run
    by us. The paper reports for densenet121 25.02 % top-1 and 7.71 % top-5 error on ImageNet's validation images (one
    crop).

    The augmentation is that of Facebook's ResNet code, to which the paper refers: boxes of 8 to 100 %, mirroring,
    brightness, contrast and saturation by up to 0.4, colour noise of 0.1 (the figures from memory). Everything is
    decayed, as there. The start comes from the network; there is no dropout on ImageNet.
    """
    return options(
        epochs=90,
        batch_size=256,
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        decay_all=True,
        schedule="steps",
        milestones=(30.0, 60.0),
        warmup_epochs=0.0,
        crop="area",
        flip=True,
        photometric=0.4,
        pca_noise=0.1,
    )


def cifar_densenet() -> TrainingOptions:
    """DenseNet on CIFAR: 300 epochs of 64 images, the rate a tenth at half and at three quarters.

    Huang et al. 2016, arXiv:1608.06993, section 4.2. Command: fovea train cifar_densenet_bc_100_12 cifar10 --recipe
    paper. Not run by us. The paper reports 4.51 % error on CIFAR-10's test images for that network, and 5.24 % for
    cifar_densenet_40_12, both with this augmentation.

    Without augmentation the paper drops 0.2 behind each convolution: --option dropout=0.2 with --shift 0 --no-flip.
    The paper trains its final networks on all 50,000 images; fovea keeps 5,000 of them for validation.
    """
    return options(
        epochs=300,
        batch_size=64,
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        decay_all=True,
        schedule="steps",
        warmup_epochs=0.0,
    ).but(augmentation=cifar())
