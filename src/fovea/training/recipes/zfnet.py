"""ZFNet's recipe of 2013."""

from __future__ import annotations

from fovea.training.options import TrainingOptions
from fovea.training.recipes.alexnet import alexnet


def zfnet() -> TrainingOptions:
    """ZFNet on ImageNet: AlexNet's recipe for 70 epochs, without its colour noise.

    Zeiler and Fergus 2013, arXiv:1311.2901, section 3. Command: fovea train zfnet imagenet --recipe paper. Not run by
    us. The paper reports 12 days on one GTX 580, and 38.4 % top-1 and 16.5 % top-5 error on ILSVRC-2012's validation
    images (one network, ten crops).

    Dropout and the start come from the network. The paper's section gives no weight decay; AlexNet's is taken. Its ten
    fixed crops (corners and centre, mirrored) are random ones here. It draws filters whose root mean square exceeds 0.1
    back to 0.1; that is missing here. When the rate falls was decided by hand; waiting for 5 epochs is ours.
    """
    return alexnet().but(epochs=70, pca_noise=0.0)
