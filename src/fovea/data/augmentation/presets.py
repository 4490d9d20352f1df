"""Augmentations named by the paper they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fovea.data.options import Augmentation
from fovea.errors import UsageError, suggestion


def alexnet() -> Augmentation:
    """Random squares of images whose shorter side is 256 pixels, mirrored; colour noise of deviation 0.1.

    The paper's squares of 224 lie within the 256 × 256 in the middle; here, as everywhere since, in the whole image.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1.
    """
    return Augmentation(crop="random", sides=(256, 256), flip=True, pca_noise=0.1)


def vgg() -> Augmentation:
    """Random squares of images whose shorter side is drawn from 256 to 512 pixels, mirrored; AlexNet's colour noise.

    Source: Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.1 (multi-scale training).
    """
    return Augmentation(crop="random", sides=(256, 512), flip=True, pca_noise=0.1)


def inception() -> Augmentation:
    """Random boxes of 8 to 100 % of the image, their aspect from 3/4 to 4/3, mirrored; Howard's photometric changes.

    Source: Szegedy et al. 2014, arXiv:1409.4842, section 6.
    """
    return Augmentation(crop="area", area=(0.08, 1.0), flip=True, photometric=0.5)


def howard() -> Augmentation:
    """Random squares of whole images of 256 pixels, mirrored; brightness, contrast and saturation by 0.5 to 1.5 times.

    Saturation is Howard's colour; his changes come before AlexNet's colour noise.

    Source: Howard 2013, arXiv:1312.5402, sections 2.1 and 2.2.
    """
    return Augmentation(crop="random", sides=(256, 256), flip=True, photometric=0.5, pca_noise=0.1)


def resnet() -> Augmentation:
    """Random squares of images whose shorter side is drawn from 256 to 480 pixels, mirrored; AlexNet's colour noise.

    Source: He et al. 2015, arXiv:1512.03385, section 3.4.
    """
    return Augmentation(crop="random", sides=(256, 480), flip=True, pca_noise=0.1)


def cifar() -> Augmentation:
    """Four zeros on each side, a random square of the old size, mirrored: the usual one for CIFAR.

    Source: He et al. 2015, arXiv:1512.03385, section 4.2, after Lee et al. 2014, arXiv:1409.5185.
    """
    return Augmentation(shift=4, flip=True)


def cifar_reflect() -> Augmentation:
    """As cifar, but the image's own reflection comes in instead of zeros.

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146, section 3.
    """
    return replace(cifar(), border="reflect")


def cutout() -> Augmentation:
    """As cifar, and a square of 16 pixels set to the mean: CIFAR-10's (CIFAR-100's is 8).

    Source: DeVries and Taylor 2017, arXiv:1708.04552, section 4.1.
    """
    return replace(cifar(), cutout=16)


def randaugment() -> Augmentation:
    """Random boxes as inception's, mirrored; two operations of strength 9 in a row: ImageNet's for ResNet-50.

    Source: Cubuk et al. 2019, arXiv:1909.13719, section 4.3.
    """
    return Augmentation(crop="area", flip=True, policy="randaugment", policy_operations=2, policy_magnitude=9)


def trivialaugment() -> Augmentation:
    """Random boxes as inception's, mirrored; one operation of any strength.

    Source: Müller and Hutter 2021, arXiv:2103.10158 (TA wide).
    """
    return Augmentation(crop="area", flip=True, policy="trivialaugment")


def autoaugment() -> Augmentation:
    """Random boxes as inception's, mirrored; a pair of operations of the policy found on ImageNet.

    For images up to 64 pixels the policy is the one found on CIFAR-10.

    Source: Cubuk et al. 2018, arXiv:1805.09501.
    """
    return Augmentation(crop="area", flip=True, policy="autoaugment")


def mixup() -> Augmentation:
    """Random boxes as inception's, mirrored; images blended in pairs, with alpha 0.2: ImageNet's.

    Source: Zhang et al. 2017, arXiv:1710.09412, section 3.1.
    """
    return Augmentation(crop="area", flip=True, mixup=0.2)


def cutmix() -> Augmentation:
    """Random boxes as inception's, mirrored; a square of another image pasted, with alpha 1.

    Source: Yun et al. 2019, arXiv:1905.04899, section 4.1.
    """
    return Augmentation(crop="area", flip=True, cutmix=1.0)


PRESETS: Final[dict[str, Callable[[], Augmentation]]] = {
    each.__name__: each
    for each in (
        *(alexnet, howard, vgg, inception, resnet),
        *(cifar, cifar_reflect, cutout),
        *(autoaugment, randaugment, trivialaugment, mixup, cutmix),
    )
}


def preset(name: str) -> Augmentation:
    """The augmentation of that name.

    Raises:
        UsageError: an unknown name; the message lists them.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown augmentation {name!r}; choose from {', '.join(PRESETS)}.{suggestion(name, PRESETS)}")
    return PRESETS[name]()
