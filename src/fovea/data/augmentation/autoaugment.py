"""AutoAugment: policies that a search found on CIFAR-10, ImageNet and SVHN.

Source: Cubuk et al. 2018, arXiv:1805.09501, Tables 7 to 9, as in the authors' code.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fovea.data.augmentation.colour import apply
from fovea.data.augmentation.ranges import MODERATE, Range, magnitude

Step = tuple[str, float, int]  # operation, its probability, its strength from 0 to 9
Policy = tuple[tuple[Step, Step], ...]

STRONGEST: Final = 9
SMALL: Final = 64  # pixels of an image's side up to which CIFAR-10's policy is taken
LIMITS: Final = {**MODERATE, "invert": Range()}

# fmt: off
CIFAR10: Final[Policy] = (
    (("invert",       0.1, 0), ("contrast",     0.2, 6)),
    (("rotate",       0.7, 2), ("translate_x",  0.3, 9)),
    (("sharpness",    0.8, 1), ("sharpness",    0.9, 3)),
    (("shear_y",      0.5, 8), ("translate_y",  0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalise",     0.9, 0)),
    (("shear_y",      0.2, 7), ("posterise",    0.3, 7)),
    (("colour",       0.4, 3), ("brightness",   0.6, 7)),
    (("sharpness",    0.3, 9), ("brightness",   0.7, 9)),
    (("equalise",     0.6, 0), ("equalise",     0.5, 0)),
    (("contrast",     0.6, 7), ("sharpness",    0.6, 5)),
    (("colour",       0.7, 7), ("translate_x",  0.5, 8)),
    (("equalise",     0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y",  0.4, 3), ("sharpness",    0.2, 6)),
    (("brightness",   0.9, 6), ("colour",       0.2, 8)),
    (("solarise",     0.5, 2), ("invert",       0.0, 0)),
    (("equalise",     0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalise",     0.2, 0), ("equalise",     0.6, 0)),
    (("colour",       0.9, 9), ("equalise",     0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarise",     0.2, 8)),
    (("brightness",   0.1, 3), ("colour",       0.7, 0)),
    (("solarise",     0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y",  0.9, 9), ("translate_y",  0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarise",     0.8, 3)),
    (("equalise",     0.8, 0), ("invert",       0.1, 0)),
    (("translate_y",  0.7, 9), ("autocontrast", 0.9, 0)),
)
IMAGENET: Final[Policy] = (
    (("posterise",    0.4, 8), ("rotate",       0.6, 9)),
    (("solarise",     0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalise",     0.8, 0), ("equalise",     0.6, 0)),
    (("posterise",    0.6, 7), ("posterise",    0.6, 6)),
    (("equalise",     0.4, 0), ("solarise",     0.2, 4)),
    (("equalise",     0.4, 0), ("rotate",       0.8, 8)),
    (("solarise",     0.6, 3), ("equalise",     0.6, 0)),
    (("posterise",    0.8, 5), ("equalise",     1.0, 0)),
    (("rotate",       0.2, 3), ("solarise",     0.6, 8)),
    (("equalise",     0.6, 0), ("posterise",    0.4, 6)),
    (("rotate",       0.8, 8), ("colour",       0.4, 0)),
    (("rotate",       0.4, 9), ("equalise",     0.6, 0)),
    (("equalise",     0.0, 0), ("equalise",     0.8, 0)),
    (("invert",       0.6, 0), ("equalise",     1.0, 0)),
    (("colour",       0.6, 4), ("contrast",     1.0, 8)),
    (("rotate",       0.8, 8), ("colour",       1.0, 2)),
    (("colour",       0.8, 8), ("solarise",     0.8, 7)),
    (("sharpness",    0.4, 7), ("invert",       0.6, 0)),
    (("shear_x",      0.6, 5), ("equalise",     1.0, 0)),
    (("colour",       0.4, 0), ("equalise",     0.6, 0)),
    (("equalise",     0.4, 0), ("solarise",     0.2, 4)),
    (("solarise",     0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert",       0.6, 0), ("equalise",     1.0, 0)),
    (("colour",       0.6, 4), ("contrast",     1.0, 8)),
    (("equalise",     0.8, 0), ("equalise",     0.6, 0)),
)
SVHN: Final[Policy] = (
    (("shear_x",      0.9, 4), ("invert",       0.2, 0)),
    (("shear_y",      0.9, 8), ("invert",       0.7, 0)),
    (("equalise",     0.6, 0), ("solarise",     0.6, 6)),
    (("invert",       0.9, 0), ("equalise",     0.6, 0)),
    (("equalise",     0.6, 0), ("rotate",       0.9, 3)),
    (("shear_x",      0.9, 4), ("autocontrast", 0.8, 0)),
    (("shear_y",      0.9, 8), ("invert",       0.4, 0)),
    (("shear_y",      0.9, 5), ("solarise",     0.2, 6)),
    (("invert",       0.9, 0), ("autocontrast", 0.8, 0)),
    (("equalise",     0.6, 0), ("rotate",       0.9, 3)),
    (("shear_x",      0.9, 4), ("solarise",     0.3, 3)),
    (("shear_y",      0.8, 8), ("invert",       0.7, 0)),
    (("equalise",     0.9, 0), ("translate_y",  0.6, 6)),
    (("invert",       0.9, 0), ("equalise",     0.6, 0)),
    (("contrast",     0.3, 3), ("rotate",       0.8, 4)),
    (("invert",       0.8, 0), ("translate_y",  0.0, 2)),
    (("shear_y",      0.7, 6), ("solarise",     0.4, 8)),
    (("invert",       0.6, 0), ("rotate",       0.8, 4)),
    (("shear_y",      0.3, 7), ("translate_x",  0.9, 3)),
    (("shear_x",      0.1, 6), ("invert",       0.6, 0)),
    (("solarise",     0.7, 2), ("translate_y",  0.6, 7)),
    (("shear_y",      0.8, 4), ("invert",       0.8, 0)),
    (("shear_x",      0.7, 9), ("translate_y",  0.8, 3)),
    (("shear_y",      0.8, 5), ("autocontrast", 0.7, 0)),
    (("shear_x",      0.7, 2), ("invert",       0.1, 0)),
)
# fmt: on
POLICIES: Final[dict[str, Policy]] = {"cifar10": CIFAR10, "imagenet": IMAGENET, "svhn": SVHN}


def autoaugment(
    image: Image.Image, draws: NDArray[np.float64], found_on: Literal["", "cifar10", "imagenet", "svhn"] = ""
) -> Image.Image:
    """One of 25 pairs of operations, each done with its probability.

    Args:
        image: RGB or L.
        draws: Five uniform numbers: which pair; whether each is done; in which direction each goes.
        found_on: The set whose policy is taken; by default CIFAR-10 for sides up to 64 pixels, ImageNet above.
    """
    policy = POLICIES[found_on or ("cifar10" if max(image.size) <= SMALL else "imagenet")]
    choice, *others = draws.tolist()
    for (name, probability, strength), done, direction in zip(
        policy[int(choice * len(policy))], others[:2], others[2:], strict=True
    ):
        if done < probability:
            how_much = magnitude(LIMITS[name], strength / STRONGEST, size=image.size, negative=direction >= 0.5)
            image = apply(image, name, how_much)
    return image
