"""Images made worse as cameras, transmission and storage make them, in five severities, the same ones every time."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from fovea import randomness
from fovea.errors import DataError, UsageError, require, suggestion

SEVERITIES = 5
SMALL_SIDE = 64  # pixels; the published parameters are for sides of 32 and of 224, and this lies between

# Of each kind the parameters of severities 1 to 5: for images whose longer side is at most SMALL_SIDE those of
# CIFAR-10-C, for larger ones those of ImageNet-C, as the paper's published code has them.
STRENGTHS = MappingProxyType(
    {
        # Standard deviation of what is added, of brightness from 0 to 1.
        "gaussian_noise": ((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
        # Photons that a white pixel receives on average; a darker one receives its share of them.
        "shot_noise": ((500.0, 250.0, 100.0, 75.0, 50.0), (60.0, 25.0, 12.0, 5.0, 3.0)),
        # Standard deviation of the blur in pixels of the image as it is given, whatever a network then makes of it.
        "gaussian_blur": ((0.4, 0.6, 0.7, 0.8, 1.0), (1.0, 2.0, 3.0, 4.0, 6.0)),
        # Fraction left of each pixel's difference from its channel's mean.
        "contrast": ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
        # JPEG's quality, from 1 to 95.
        "jpeg": ((80.0, 65.0, 58.0, 50.0, 40.0), (25.0, 18.0, 15.0, 10.0, 7.0)),
    }
)

KINDS = tuple(STRENGTHS)


def corrupted(image: NDArray[np.generic], kind: str, severity: int, *, seed: int, index: int) -> NDArray[np.uint8]:
    """An image made worse; what is drawn for it depends on seed, kind, index and severity, and on nothing else.

    Unlike the published data sets, whose images were first cut to 32 or 224 pixels a side, these are corrupted at the
    size they come in; numbers can be compared with published ones only for images of those sizes.

    Args:
        image: (h, w) or (h, w, c), uint8.
        kind: One of `KINDS`. Noise is drawn for each channel apart; JPEG halves the resolution of colour, and takes
            each channel as a grey image where there are not three.
        severity: 1 to 5.
        seed: What noise is drawn from.
        index: The image's place in its set.

    Returns:
        The same shape, uint8; the given image stays as it is.

    Raises:
        UsageError: an unknown kind, or another severity.
        DataError: the image is not of that shape and type.

    Source: Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
    perturbations", arXiv:1903.12261; the parameters from their github.com/hendrycks/robustness.
    """
    if kind not in STRENGTHS:
        raise UsageError(f"unknown corruption {kind!r}; choose from {', '.join(KINDS)}.{suggestion(kind, KINDS)}")
    require("severity", severity, severity in range(1, SEVERITIES + 1), f"a whole number from 1 to {SEVERITIES}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise DataError(
            f"corruptions take images (h, w) or (h, w, c) of bytes from 0 to 255 (uint8); image {index} has shape "
            f"{image.shape} and type {image.dtype}; convert it first"
        )
    small, large = STRENGTHS[kind]
    strength = (small if max(image.shape[:2]) <= SMALL_SIDE else large)[severity - 1]
    values = image.astype(np.uint8)
    if kind == "jpeg":
        return _jpeg(values, int(strength))
    draws = randomness.key(seed, f"corruption/{kind}", index, severity)
    found = _CHANGES[kind](values / 255, strength, np.random.Generator(np.random.PCG64(draws)))
    return np.rint(np.clip(found, 0, 1) * 255).astype(np.uint8)


def _gaussian_noise(pixels: NDArray[np.float64], spread: float, random: np.random.Generator) -> NDArray[np.float64]:
    return pixels + random.normal(scale=spread, size=pixels.shape)


def _shot_noise(pixels: NDArray[np.float64], photons: float, random: np.random.Generator) -> NDArray[np.float64]:
    counted: NDArray[np.int64] = random.poisson(pixels * photons)
    return counted / photons


def _gaussian_blur(pixels: NDArray[np.float64], sigma: float, _: np.random.Generator) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter  # slow to load

    spreads = (sigma, sigma, 0)[: pixels.ndim]  # channels are not mixed
    blurred: NDArray[np.float64] = gaussian_filter(pixels, spreads, mode="nearest")
    return blurred


def _contrast(pixels: NDArray[np.float64], left: float, _: np.random.Generator) -> NDArray[np.float64]:
    means: NDArray[np.float64] = pixels.mean(axis=(0, 1), keepdims=True)
    return means + (pixels - means) * left


def _jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image  # slow to load

    if image.ndim == 3 and image.shape[2] != 3:
        return np.stack([_jpeg(image[:, :, channel], quality) for channel in range(image.shape[2])], axis=2)
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


_CHANGES: dict[str, Callable[[NDArray[np.float64], float, np.random.Generator], NDArray[np.float64]]] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "gaussian_blur": _gaussian_blur,
    "contrast": _contrast,
}
