"""Recipes for ResNet of 2015 and its pre-activation form of 2016, on ImageNet and on CIFAR."""

from __future__ import annotations

from fovea.data.augmentation.presets import cifar
from fovea.data.augmentation.presets import resnet as varied
from fovea.training.options import TrainingOptions, options

WARM_STEPS = 400  # that ResNet-110 takes, about, to a training error below 80 %
STEPS_PER_EPOCH = 352  # of 45,000 images in batches of 128


def resnet() -> TrainingOptions:
    """ResNet on ImageNet: batches of 256, the rate a tenth where validation stands still, 600,000 steps.

    He et al. 2015, arXiv:1512.03385, section 3.4. Command: fovea train resnet50 imagenet --recipe paper. Not run by us.
    The paper reports for resnet50 22.85 % top-1 and 6.71 % top-5 error on ImageNet's validation images (ten crops), for
    resnet18 27.88 % top-1; time and hardware it does not tell.

    Normalisation and the start come from the network; there is no dropout. 600,000 steps are 120 epochs of ImageNet.
    Waiting for 10 epochs before the rate falls is ours. Everything is decayed, gains and biases too, as Caffe and
    Facebook's code do (from memory). Pixels are divided by their deviation beside the paper's mean image, which batch
    normalisation undoes.
    """
    told = options(
        epochs=120,
        batch_size=256,
        lr=0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        decay_all=True,
        schedule="plateau",
        plateau_epochs=10,
        warmup_epochs=0.0,
        mean_image=True,
        resize=256,
    )
    return told.but(augmentation=varied())


def cifar_resnet() -> TrainingOptions:
    """ResNet-20 to -56 on CIFAR-10: 64,000 steps of 128, the rate a tenth at half and at three quarters.

    He et al. 2015, arXiv:1512.03385, section 4.2. Command: fovea train cifar_resnet20 cifar10 --recipe paper.
    Measured on two cores of an AMD EPYC, 2026-11-28, with --precision bf16, one run in 1 h 31 min: 8.73 % error on
    test (8.19 to 9.30), 8.83 % with the last epoch. The paper reports 8.75, 7.51, 7.17 and 6.97 % error on test for 20,
    32, 44 and 56 layers.

    182 epochs are the paper's 64,000 steps on its 45,000 training images, which fovea cuts from the 50,000 as well; the
    rate falls at 32,000 and 48,000. On other data the epochs stay and the steps do not. Everything is decayed, gains
    and biases too, as Caffe and Facebook's code do (from memory). Pixels are divided by their deviation beside the mean
    image. What is kept is the best epoch by validation, where the paper takes the last.
    """
    return options(
        epochs=182,
        batch_size=128,
        lr=0.1,
        momentum=0.9,
        nesterov=False,
        weight_decay=1e-4,
        decay_all=True,
        schedule="steps",
        warmup_epochs=0.0,
        mean_image=True,
    ).but(augmentation=cifar())


def cifar_resnet_warmup() -> TrainingOptions:
    """ResNet-110 and -1202 on CIFAR-10: as cifar_resnet, but the first 400 steps at a tenth of the rate.

    He et al. 2015, arXiv:1512.03385, section 4.2. Command: fovea train cifar_resnet110 cifar10 --recipe paper. Not run
    by us. The paper reports 6.43 % error on test for 110 layers (6.61 ± 0.16 % over five runs) and 7.93 % for 1202.

    The paper goes back to 0.1 once the training error is below 80 %, after about 400 steps; here it is 400 steps of its
    45,000 images, told as a share of an epoch, whatever the error.
    """
    return cifar_resnet().but(warmup="constant", warmup_epochs=WARM_STEPS / STEPS_PER_EPOCH)


def cifar_preact_resnet() -> TrainingOptions:
    """Pre-activation ResNets on CIFAR: ResNet's recipe, and all depths begin at a tenth of the rate.

    He et al. 2016, arXiv:1603.05027, section 4 and appendix (the schedule from memory). Command: fovea train
    cifar_preact_resnet164 cifar10 --recipe paper. Not run by us. The paper reports 6.37, 5.46 and 4.92 % error on test
    for 110, 164 and 1001 layers, medians of five runs.

    Batches of 128 are the paper's; its released code has 64, with which 1001 layers reached 4.62 %.
    """
    return cifar_resnet_warmup()


def preact_resnet() -> TrainingOptions:
    """Pre-activation ResNets on ImageNet: 90 epochs of 256 images, the rate a tenth after 30 and 60.

    He et al. 2016, arXiv:1603.05027, section 5 (the schedule from memory). Command: fovea train preact_resnet152
    imagenet --recipe paper. Not run by us. The paper reports for preact_resnet152 21.1 % top-1 and 5.5 % top-5 error on
    ImageNet's validation images (one crop of 320 pixels, trained with scales as ResNet's); for 50 and 101 layers
    nothing.

    For ResNet-200 the paper trains longer. Everything is decayed, as in Facebook's code (from memory).
    """
    return resnet().but(epochs=90, schedule="steps", milestones=(30.0, 60.0), plateau_epochs=10, mean_image=False)
