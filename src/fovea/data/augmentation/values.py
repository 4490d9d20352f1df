"""Augmentation of the numbers a network receives: colour noise, squares set to the mean, rectangles of noise."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fovea import randomness
from fovea.data.augmentation.components import Components, principal_components
from fovea.data.augmentation.normals import normals
from fovea.data.augmentation.rectangles import Rectangles, centred
from fovea.data.options import Augmentation
from fovea.errors import ShapeError

__all__ = ["Components", "cutout", "erase", "pca_noise", "principal_components", "vary_values"]

TRIES: Final = 10
ERASED: Final = (0.02, 0.33)  # smallest and largest share of the image
ASPECTS: Final = (0.3, 1 / 0.3)  # height to width


def vary_values(
    images: Float[Tensor, "n c s s"],
    indices: NDArray[np.int64],
    options: Augmentation,
    draw_key: int,
    components: Components | None = None,
) -> Float[Tensor, "n c s s"]:
    """The batch after pca_noise, cutout and erasing, as far as they are asked for, in this order.

    Args:
        images: Normalised images, on any device; they are not changed in place.
        indices: The images' places in the training set: what the draws depend on.
        options: Which changes, and how large.
        draw_key: The key of (seed, purpose, epoch); each change draws under a key of its own.
        components: The principal components of the training pixels, for pca_noise.

    Raises:
        ShapeError: pca_noise without components, or with those of other channels.
    """
    if options.pca_noise:
        key = randomness.key(draw_key, "pca_noise")
        images = pca_noise(images, indices, options.pca_noise, key, components)
    if options.cutout:
        images = cutout(images, indices, options.cutout, randomness.key(draw_key, "cutout"))
    if options.erasing:
        images = erase(images, indices, options.erasing, randomness.key(draw_key, "erasing"))
    return images


def pca_noise(
    images: Float[Tensor, "n c s s"],
    indices: NDArray[np.int64],
    deviation: float,
    draw_key: int,
    components: Components | None,
) -> Float[Tensor, "n c s s"]:
    """The batch, to every pixel of an image the same colour added: the components, each times its variance times alpha.

    Args:
        images: Normalised images.
        indices: What the draws depend on.
        deviation: Of alpha, which is normal, one for each image and component.
        draw_key: The key of (seed, purpose, epoch, change).
        components: The principal components of the training pixels.

    Raises:
        ShapeError: no components, or those of other channels.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 4.1.
    """
    channels = images.shape[1]
    if components is None or len(components.variances) != channels:
        found = "none" if components is None else f"those of {len(components.variances)}"
        raise ShapeError(f"pca_noise needs the principal components of {channels} channels, but got {found}")
    alphas = deviation * normals(draw_key, indices, draws=channels)
    colours = (alphas[:, None, :] * components.shifts()).sum(axis=2)
    return images + torch.from_numpy(colours).to(images.device, images.dtype)[:, :, None, None]


def cutout(
    images: Float[Tensor, "n c s s"], indices: NDArray[np.int64], side: int, draw_key: int
) -> Float[Tensor, "n c s s"]:
    """The batch, in each image a square of `side` pixels set to 0, the mean: centred anywhere, clipped at the border.

    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """
    size = images.shape[-1]
    squares = centred(randomness.uniforms(draw_key, indices, draws=2), np.full(len(indices), side), size)
    return torch.where(squares.mask(size, images.device), images.new_zeros(()), images)  # channels stay last


def erase(
    images: Float[Tensor, "n c s s"], indices: NDArray[np.int64], share: float, draw_key: int
) -> Float[Tensor, "n c s s"]:
    """The batch, in a share of the images a rectangle replaced by standard normal noise.

    The rectangle covers 2 to 33 % of the image, uniformly; the logarithm of height to width is uniform between those of
    0.3 and 1/0.3; it lies anywhere within the image. An image of which ten tries do not fit stays as it is.

    Source: Zhong et al. 2017, arXiv:1708.04896.
    """
    size, values = images.shape[-1], images[0].numel()
    mask = _erased(indices, share, draw_key, size).mask(size, torch.device("cpu")).expand(images.shape)
    image, channel, row, column = (place.numpy() for place in mask.nonzero(as_tuple=True))
    places = indices[image] * values + (channel * size + row) * size + column
    noise = normals(randomness.key(draw_key, "noise"), places)[:, 0]
    found = images.clone()
    found[mask.to(images.device)] = torch.from_numpy(noise).to(images.device, images.dtype)
    return found


def _erased(indices: NDArray[np.int64], share: float, draw_key: int, size: int) -> Rectangles:
    """Each image's first try that fits; of no height and width where none does, or where nothing is to be erased."""
    draws = randomness.uniforms(draw_key, indices, draws=3 + 2 * TRIES)
    low, high = np.log(ASPECTS)
    pixels = size**2 * (ERASED[0] + draws[:, 3::2] * (ERASED[1] - ERASED[0]))
    aspects = np.exp(low + draws[:, 4::2] * (high - low))
    heights, widths = (np.sqrt(each).round().astype(np.int64) for each in (pixels * aspects, pixels / aspects))
    fits = (heights < size) & (widths < size) & (draws[:, :1] < share)
    first = fits.argmax(axis=1)[:, None]
    height, width = (np.take_along_axis(each * fits, first, axis=1)[:, 0] for each in (heights, widths))
    top, left = ((draws[:, 1 + k] * (size - length + 1)).astype(np.int64) for k, length in enumerate((height, width)))
    return Rectangles(top, left, height, width)
