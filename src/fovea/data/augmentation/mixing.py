"""Images of a batch mixed in pairs, and their labels in proportion."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea import randomness
from fovea.data.augmentation.rectangles import centred
from fovea.data.batch import Batch
from fovea.data.options import Augmentation


def mix(
    images: Float[Tensor, "n c s s"],
    labels: Int[Tensor, "n"],
    indices: NDArray[np.int64],
    options: Augmentation,
    draw_key: int,
) -> Batch:
    """The batch, each image mixed with the next one, the last with the first, by MixUp or by CutMix.

    Where both are asked for, each batch takes one of them, with equal chance, by a draw of its first image. An image's
    partner depends on its batch; its share, on itself alone.

    Args:
        images: Normalised images, on any device; they are not changed in place.
        labels: Their classes.
        indices: The images' places in the training set: what the draws depend on.
        options: mixup and cutmix, the alphas; nothing is mixed where both are 0.
        draw_key: The key of (seed, purpose, epoch).
    """
    if not options.mixup and not options.cutmix:
        return Batch(images, labels)
    cutting = options.cutmix > 0
    if options.mixup and options.cutmix:
        cutting = bool(randomness.uniforms(randomness.key(draw_key, "mixing"), indices[:1])[0, 0] < 0.5)
    if cutting:
        mixed, shares = cutmix(images, indices, options.cutmix, randomness.key(draw_key, "cutmix"))
    else:
        mixed, shares = mixup(images, indices, options.mixup, randomness.key(draw_key, "mixup"))
    return Batch(mixed, labels, labels.roll(-1), shares)


def mixup(
    images: Float[Tensor, "n c s s"], indices: NDArray[np.int64], alpha: float, draw_key: int
) -> tuple[Float[Tensor, "n c s s"], Float[Tensor, "n"]]:
    """Each image blended with the next one, and its own share, which follows Beta(alpha, alpha).

    Source: Zhang et al. 2017, arXiv:1710.09412; there one share for a whole batch.
    """
    own = _beta(alpha, randomness.uniforms(draw_key, indices)[:, 0])
    shares = torch.from_numpy(own).to(images.device, torch.float32)
    column = shares.to(images.dtype)[:, None, None, None]
    return images * column + images.roll(-1, 0) * (1 - column), shares


def cutmix(
    images: Float[Tensor, "n c s s"], indices: NDArray[np.int64], alpha: float, draw_key: int
) -> tuple[Float[Tensor, "n c s s"], Float[Tensor, "n"]]:
    """Into each image a square of the next one pasted, and the share of its pixels that stay.

    The square's area follows Beta(alpha, alpha), as a share of the image; it is centred on any pixel and clipped at the
    border, so that more stays.

    Source: Yun et al. 2019, arXiv:1905.04899; there one square for a whole batch.
    """
    size = images.shape[-1]
    draws = randomness.uniforms(draw_key, indices, draws=3)
    lengths = (size * np.sqrt(1 - _beta(alpha, draws[:, 0]))).astype(np.int64)
    mask = centred(draws[:, 1:], lengths, size).mask(size, images.device)
    shares = 1 - mask.sum(dim=(1, 2, 3), dtype=torch.float32) / size**2
    return torch.where(mask, images.roll(-1, 0), images), shares


def _beta(alpha: float, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers that follow Beta(alpha, alpha), by the inverse of its distribution."""
    from scipy.special import betaincinv

    found: NDArray[np.float64] = betaincinv(alpha, alpha, uniforms)
    return found
