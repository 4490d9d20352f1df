"""AlexNet's recipe of 2012."""

from __future__ import annotations

from fovea.data.augmentation.presets import alexnet as varied
from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.pixels import FROM_0_TO_255


def alexnet() -> TrainingOptions:
    """AlexNet on ImageNet: SGD on batches of 128, the rate a tenth three times where validation stands still.

    Krizhevsky, Sutskever and Hinton 2012, NIPS, section 5. Command: fovea train alexnet imagenet --recipe paper. Not
    run by us. The paper reports five to six days for about 90 epochs on two GTX 580 of 3 GB, and 40.7 % top-1 and
    18.2 % top-5 error on ILSVRC-2012's validation images (one network, ten crops).

    From the network come dropout, the biases at one, local response normalisation and the start, N(0, 0.01); they want
    pixels of 0 to 255, which the recipe gives, less the mean of ImageNet's pixels where the paper subtracts a mean
    image. The rate was lowered by hand; that it falls after 5 epochs without a better one is ours. Weights alone are
    decayed, as its code has it, and biases learn at the rate of the weights, where that code has twice as much (both
    from memory).
    """
    told = options(
        epochs=90,
        batch_size=128,
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
