"""Recipes for GoogLeNet of 2014 and BN-Inception of 2015."""

from __future__ import annotations

from fovea.data.augmentation.presets import inception
from fovea.training.options import TrainingOptions, options
from fovea.training.recipes.pixels import FROM_0_TO_255


def googlenet() -> TrainingOptions:
    """GoogLeNet on ImageNet: the rate falls by 4 % every 8 epochs; auxiliary losses at 0.3; averaged weights.

    Szegedy et al. 2014, arXiv:1409.4842, section 6. Command: fovea train googlenet imagenet --recipe paper --option
    auxiliary=true; without that option the network has no auxiliary classifiers, and their 0.3 counts nothing. Not run
    by us. The paper reports 10.07 % top-5 error on ILSVRC-2014's validation images (one network, one crop).

    The paper is silent about rate, batch, weight decay and length: 0.01, 32, 2e-4 and 250 epochs are Caffe's
    replication's, which decays weights alone (from memory). It trained asynchronously on many machines, and its
    averaging (Polyak's) is an exponential one of 0.9999 here, by our choice. Dropout of 40 and 70 % and the start come
    from the network. Of the photometric changes the paper doubts whether they helped; they are here, the random kinds
    of interpolation are not.
    """
    told = options(
        epochs=250,
        batch_size=32,
        lr=0.01,
        momentum=0.9,
        nesterov=False,
        weight_decay=2e-4,
        schedule="exponential",
        factor=0.96,
        decay_epochs=8.0,
        warmup_epochs=0.0,
        auxiliary=0.3,
        ema=0.9999,
        **FROM_0_TO_255,
    )
    return told.but(augmentation=inception())


def googlenet_quick() -> TrainingOptions:
    """GoogLeNet on ImageNet in 60 epochs: the rate falls with the square root of what is left.

    Szegedy et al. 2014, arXiv:1409.4842, by Caffe's replication, its quick solver: 2.4 million steps of 32, polynomial
    with power 0.5. Command: fovea train googlenet imagenet --recipe googlenet_quick --option auxiliary=true. Not run by
    us. Its authors report 31.3 % top-1 and 11.1 % top-5 error on ImageNet's validation images (one crop).

    Crops of 256 pixels and mirroring stand for the paper's boxes, as that replication has them (from memory).
    """
    return googlenet().but(
        epochs=60,
        schedule="polynomial",
        power=0.5,
        ema=0.0,
        resize=256,
        crop="random",
        photometric=0.0,
    )


def bn_inception() -> TrainingOptions:
    """BN-Inception on ImageNet, the paper's BN-x30: thirty times GoogLeNet's rate, which falls six times as fast.

    Ioffe and Szegedy 2015, arXiv:1502.03167, section 4.2. Command: fovea train bn_inception imagenet --recipe paper.
    Not run by us. The paper reports 6 million steps of 32, 150 epochs, to 25.2 % top-1 and 7.82 % top-5 error on
    ImageNet's validation images (one network, one crop).

    Dropout and local response normalisation, which the paper removes, are not in the network. The paper gives its decay
    against its own Inception's, which it does not print: six times GoogLeNet's 4 % every 8 epochs is taken, and of
    Caffe's weight decay of 2e-4 the fifth that it says. Photometric changes are fewer in the paper; here there are
    none. The momentum is not told; 0.9 is GoogLeNet's.
    """
    told = options(
        epochs=150,
        batch_size=32,
        lr=0.045,
        momentum=0.9,
        nesterov=False,
        weight_decay=4e-5,
        schedule="exponential",
        factor=0.96,
        decay_epochs=8 / 6,
        warmup_epochs=0.0,
    )
    return told.but(augmentation=inception()).but(photometric=0.0)
