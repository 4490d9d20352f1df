"""Published policies: lists of distortions from which each image draws its own.

Source: Cubuk et al. 2019, arXiv:1909.13719 (RandAugment); Müller and Hutter 2021, arXiv:2103.10158 (TrivialAugment);
Cubuk et al. 2018, arXiv:1805.09501 (AutoAugment).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fovea.data.augmentation.autoaugment import autoaugment
from fovea.data.augmentation.colour import apply, photometric
from fovea.data.augmentation.ranges import BINS, MODERATE, WIDE, magnitude
from fovea.data.options import Augmentation
from fovea.errors import ShapeError

MOST_OPERATIONS: Final = 16
POLICY_DRAWS: Final = 2 * MOST_OPERATIONS
DRAWS: Final = POLICY_DRAWS + 4


def distort(image: Image.Image, augmentation: Augmentation, draws: NDArray[np.float64]) -> Image.Image:
    """A fitted image after its policy, then after the photometric change, where they are asked for.

    Args:
        image: RGB or L, 8 bits.
        augmentation: policy, policy_operations, policy_magnitude and photometric decide.
        draws: DRAWS uniform numbers, this image's own.

    Raises:
        ShapeError: an image of another mode.
    """
    if image.mode not in ("RGB", "L"):
        raise ShapeError(f"a policy takes images of 8 bits with 1 or 3 channels, not of Pillow's mode {image.mode}")
    if augmentation.policy == "randaugment":
        pairs = draws[: 2 * augmentation.policy_operations].reshape(-1, 2)
        image = randaugment(image, augmentation.policy_magnitude, pairs)
    elif augmentation.policy == "trivialaugment":
        image = trivialaugment(image, draws[:3])
    elif augmentation.policy == "autoaugment":
        image = autoaugment(image, draws[:5])
    return photometric(image, augmentation.photometric, draws[POLICY_DRAWS:]) if augmentation.photometric else image


def randaugment(image: Image.Image, strength: int, draws: NDArray[np.float64]) -> Image.Image:
    """Operations in a row, each any of fourteen, all at one strength.

    Args:
        image: RGB or L.
        strength: M, from 0 to 30.
        draws: (N, 2) uniform numbers: which operation, and in which direction where there are two.

    Source: Cubuk et al. 2019, arXiv:1909.13719; ranges as in torchvision's RandAugment with 31 bins.
    """
    names = tuple(MODERATE)
    for choice, direction in draws.tolist():
        name = names[int(choice * len(names))]
        how_much = magnitude(MODERATE[name], strength / (BINS - 1), size=image.size, negative=direction >= 0.5)
        image = apply(image, name, how_much)
    return image


def trivialaugment(image: Image.Image, draws: NDArray[np.float64]) -> Image.Image:
    """One operation, any of fourteen, at any of 31 strengths of wide ranges.

    Args:
        image: RGB or L.
        draws: Three uniform numbers: which operation, how strong, in which direction.

    Source: Müller and Hutter 2021, arXiv:2103.10158, Table 1, "wide"; ranges as in torchvision's TrivialAugmentWide.
    """
    choice, strength, direction = draws.tolist()
    name = tuple(WIDE)[int(choice * len(WIDE))]
    drawn = int(strength * BINS) / (BINS - 1)
    return apply(image, name, magnitude(WIDE[name], drawn, size=image.size, negative=direction >= 0.5))
