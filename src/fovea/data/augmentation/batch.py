"""Augmentation of whole batches of fitted pixels; each image's draws are a function of (seed, epoch, index)."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea import randomness
from fovea.data.options import Augmentation


def augment(
    pixels: Shaped[Tensor, "n c s s"], indices: NDArray[np.int64], options: Augmentation, draw_key: int
) -> Shaped[Tensor, "n c s s"]:
    """The batch, each image changed by its own draws; the type stays.

    Args:
        pixels: Fitted images.
        indices: The images' places in the training set: what the draws depend on.
        options: Which changes, and how large.
        draw_key: The key of (seed, purpose, epoch).
    """
    draws = randomness.uniforms(draw_key, indices, draws=6)
    if options.flip:
        pixels = torch.where(_column(draws[:, 0] < 0.5), pixels.flip(-1), pixels)
    if options.rotate or options.zoom:
        return _affine(pixels, draws, options)
    return _shift(pixels, draws, options.shift) if options.shift else pixels


def _shift(pixels: Tensor, draws: NDArray[np.float64], reach: int) -> Tensor:
    """Whole pixels, up to reach in each direction, zeros coming in."""
    size = pixels.shape[-1]
    offsets = torch.from_numpy((draws[:, 1:3] * (2 * reach + 1)).astype(np.int64))
    windows = F.pad(pixels, (reach,) * 4).unfold(2, size, 1).unfold(3, size, 1)
    return windows[torch.arange(len(pixels)), :, offsets[:, 0], offsets[:, 1]]


def _affine(pixels: Tensor, draws: NDArray[np.float64], options: Augmentation) -> Tensor:
    """Rotation, zoom and shift in one bilinear resampling, zeros coming in."""
    symmetric = torch.from_numpy(2 * draws - 1).float()
    angle = symmetric[:, 3] * math.radians(options.rotate)
    zoom = torch.exp(symmetric[:, 4] * math.log1p(options.zoom))
    shift = symmetric[:, 1:3] * (2 * options.shift / pixels.shape[-1])
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.round().to(pixels.dtype) if pixels.dtype == torch.uint8 else moved


def _column(choice: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(choice)[:, None, None, None]
