"""MnasNet's recipe of 2018."""

from __future__ import annotations

from fovea.training.options import TrainingOptions, options


def mnasnet() -> TrainingOptions:
    """MnasNet on ImageNet: RMSProp on batches of 4,096; the rate rises for 5 epochs, then falls 3 % every 2.4.

    Tan et al. 2018, arXiv:1807.11626, section 5. Command: fovea train mnasnet_a1 imagenet --recipe paper; -b auto
    computes a batch in as many parts as memory wants. Not run by us. The paper reports 75.2 % top-1 and 92.5 % top-5
    accuracy on ImageNet's validation images for mnasnet_a1.

    350 epochs, label smoothing 0.1, the average's 0.9999 and RMSProp's epsilon of 0.001 are the released code's (the
    epsilon from memory). Dropout 0.2 and normalisation's momentum of 0.99 come from the network. On a smaller set the
    batch wants to be smaller, and the rate with it: 0.256 per 4,096 images.
    """
    return options(
        epochs=350,
        batch_size=4096,
        optimiser="rmsprop",
        lr=0.256,
        momentum=0.9,
        second_moment=0.9,
        epsilon=1e-3,
        weight_decay=1e-5,
        schedule="exponential",
        factor=0.97,
        decay_epochs=2.4,
        warmup_epochs=5.0,
        label_smoothing=0.1,
        ema=0.9999,
        crop="area",
        flip=True,
    )
