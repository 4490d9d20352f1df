"""EfficientNet's recipe of 2019."""

from __future__ import annotations

from fovea.data.augmentation.presets import autoaugment
from fovea.training.options import TrainingOptions
from fovea.training.recipes.mnasnet import mnasnet


def efficientnet() -> TrainingOptions:
    """EfficientNet on ImageNet: MnasNet's recipe with AutoAugment.

    Tan and Le 2019, arXiv:1905.11946, section 5.2. Command: fovea train efficientnet_b0 imagenet --recipe paper; -b
    auto computes a batch in as many parts as memory wants. Not run by us. The paper reports 77.1 % top-1 and 93.3 %
    top-5 accuracy on ImageNet's validation images for efficientnet_b0, and 84.3 % top-1 for efficientnet_b7.

    350 epochs and batches of 4,096 are from memory (the code's default is 2,048); the warm-up, label smoothing and the
    average's 0.9999 are the code's. From the network come stochastic depth (survival 0.8), dropout (0.2 for B0 to 0.5
    for B7), SiLU and normalisation's momentum of 0.99. The paper keeps 25,000 training images to choose the epoch by.
    """
    return mnasnet().but(augmentation=autoaugment())
