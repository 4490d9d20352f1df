"""Recipes for the searched cells of 2017 and 2018 on CIFAR: NASNet-A and AmoebaNet-A."""

from __future__ import annotations

from fovea.data.augmentation.presets import cifar
from fovea.training.options import TrainingOptions, options


def cifar_amoebanet() -> TrainingOptions:
    """AmoebaNet-A on CIFAR-10: 600 epochs, half a cosine from 0.024, an auxiliary loss at a half.

    Real et al. 2018, arXiv:1802.01548, Methods Details. Command: fovea train cifar_amoebanet_a_f32 cifar10 --recipe
    paper --option auxiliary=true. Not run by us. The paper reports 3.40 ± 0.08 % error on test for 32 filters and 3.34
    ± 0.06 % for 36.

    From the network come the paths that are dropped, ever more until 0.3 at the end, and the auxiliary classifier. The
    augmentation, shifts of 4 and mirroring, is from memory.
    """
    return options(
        epochs=600,
        batch_size=128,
        lr=0.024,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
        warmup_epochs=0.0,
        auxiliary=0.5,
    ).but(augmentation=cifar())


def cifar_nasnet() -> TrainingOptions:
    """NASNet-A on CIFAR-10: 600 epochs of batches of 32, half a cosine from 0.025, gradients clipped at 5.

    Zoph et al. 2017, arXiv:1707.07012; the figures are its released code's. Command: fovea train cifar_nasnet_a cifar10
    --recipe paper --option auxiliary=true. Not run by us. AmoebaNet's paper reports 3.41 % error on test for it,
    without Cutout.

    From the network come the paths that are dropped, ever more until 0.4 in the last cell at the end. Nesterov's form
    of the momentum, which the facts do not tell, is not used.
    """
    return cifar_amoebanet().but(batch_size=32, lr=0.025, auxiliary=0.4, clip=5.0)
