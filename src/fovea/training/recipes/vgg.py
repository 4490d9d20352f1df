"""VGG's recipe of 2014."""

from __future__ import annotations

from fovea.data.augmentation.presets import vgg as varied
from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.pixels import FROM_0_TO_255


def vgg() -> TrainingOptions:
    """VGG on ImageNet: AlexNet's schedule on batches of 256, and scales from 256 to 512 pixels.

    Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.1. Commands: fovea train vgg11 imagenet --recipe paper, then
    fovea train vgg16 imagenet --recipe paper --weights RUN_OF_VGG11, which starts the deeper network as the paper does.
    Not run by us. The paper reports 74 epochs in two to three weeks on four Titan Black (the weeks from memory), and
    25.6 % top-1 and 8.1 % top-5 error of vgg16 on ILSVRC-2012's validation images (dense, one scale).

    Dropout and the start come from the network; without vgg11's weights the deeper ones start by Glorot's rule, which
    the paper found to do. The rate falls where validation stands still, three times in the paper; waiting for 5 epochs
    is ours. The paper subtracts the mean colour, here the mean of ImageNet's pixels, and divides by nothing. Its
    networks of many scales start from those of 384 pixels alone, with a rate of 0.001; here there is one training.
    Weights alone are decayed, as Caffe's configurations have it (from memory).
    """
    told = options(
        epochs=74,
        batch_size=256,
        lr=0.01,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        schedule="plateau",
        plateau_epochs=5,
        lowest_lr=1e-5,
        warmup_epochs=0.0,
        resize=256,
        **FROM_0_TO_255,
    )
    return told.but(augmentation=varied())
