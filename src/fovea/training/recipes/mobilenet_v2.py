"""Recipes for MobileNet of 2017 and MobileNetV2 of 2018."""

from __future__ import annotations

from fovea.data.augmentation.presets import inception
from fovea.training.options import TrainingOptions, options


def mobilenet_v2() -> TrainingOptions:
    """MobileNetV2 on ImageNet: RMSProp, batches of 96, the rate 2 % lower after each epoch, averaged weights.

    Sandler et al. 2018, arXiv:1801.04381, section 6.1. Command: fovea train mobilenet_v2 imagenet --recipe paper. Not
    run by us. The paper reports 72.0 % top-1 accuracy on ImageNet's validation images for mobilenet_v2 and 74.7 % for
    mobilenet_v2_1_4.

    The paper trains with 16 workers that update the weights each by itself, and tells no length; 300 epochs are ours.
    Label smoothing 0.1, the average's 0.9999 and the augmentation are its released code's (slim); RMSProp's epsilon of
    1.0 is that code's from memory. Dropout 0.2 comes from the network.
    """
    return (
        mobilenet_v1().but(batch_size=96, momentum=0.9, epochs=300, label_smoothing=0.1).but(augmentation=inception())
    )


def mobilenet_v1() -> TrainingOptions:
    """MobileNet on ImageNet: RMSProp as for Inception v3, without label smoothing, with few small crops.

    Howard et al. 2017, arXiv:1704.04861, section 3.2, which gives no figures. Command: fovea train mobilenet_v1
    imagenet --recipe paper. Not run by us. The paper reports 70.6 % top-1 accuracy on ImageNet's validation images.

    Rate 0.045, 2 % lower after each epoch, weight decay 4e-5 and the average's 0.9999 are its released code's (slim,
    from memory); batches of 96 are MobileNetV2's; 200 epochs and boxes of a quarter of the image or more are ours. The
    paper decays depthwise filters little or not at all; here they are decayed as all others.
    """
    return options(
        epochs=200,
        batch_size=96,
        optimiser="rmsprop",
        lr=0.045,
        momentum=0.9,
        second_moment=0.9,
        epsilon=1.0,
        weight_decay=4e-5,
        schedule="exponential",
        factor=0.98,
        decay_epochs=1.0,
        warmup_epochs=0.0,
        ema=0.9999,
        crop="area",
        area=(0.25, 1.0),
        flip=True,
    )
