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
from fovea.errors import require


def augment(
    pixels: Shaped[Tensor, "n c s s"], indices: NDArray[np.int64], options: Augmentation, draw_key: int
) -> Shaped[Tensor, "n c s s"]:
    """The batch, each image changed by its own draws; type and device stay.

    Args:
        pixels: Fitted images.
        indices: The images' places in the training set: what the draws depend on.
        options: Which changes, and how large.
        draw_key: The key of (seed, purpose, epoch).

    Raises:
        UsageError: a shift that a reflection cannot fill.
    """
    size = pixels.shape[-1]
    enough = options.border == "zeros" or options.shift < size
    require("shift", options.shift, enough, f"below the image's side (={size}) where the border is reflected")
    if not any((options.flip, options.shift, options.rotate, options.zoom)):
        return pixels
    draws = randomness.uniforms(draw_key, indices, draws=6)
    if options.flip:
        pixels = flipped(pixels, draws[:, 0] < 0.5)
    if options.rotate or options.zoom:
        return _affine(pixels, draws, options)
    if not options.shift:
        return pixels
    offsets = (draws[:, 1:3] * (2 * options.shift + 1)).astype(np.int64)
    return shifted(_bordered(pixels, options), offsets, size)


def alternating(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.bool_]:
    """Which images are mirrored in an epoch: each in every other one, the even or the odd ones as it draws.

    Two epochs in a row show every image from both sides, which independent draws do for half of them.

    Source: Jordan 2024, arXiv:2404.00498, section 3.6 (alternating flip).
    """
    first = randomness.bits(randomness.key(seed, "alternating flip"), indices)[:, 0] >> np.uint64(63)
    mirrored: NDArray[np.bool_] = (first + np.uint64(epoch)) % np.uint64(2) == 1
    return mirrored


def flipped(pixels: Shaped[Tensor, "n c s s"], chosen: NDArray[np.bool_]) -> Shaped[Tensor, "n c s s"]:
    """The batch, the chosen images mirrored left to right."""
    if pixels.device.type != "cpu":
        column = torch.from_numpy(chosen).to(pixels.device)[:, None, None, None]
        return torch.where(column, pixels.flip(-1), pixels)
    places = np.flatnonzero(chosen)  # NumPy copies whole images at once, torch's index number by number
    found = pixels.clone()
    found.numpy()[places] = torch.from_numpy(pixels.numpy()[places]).flip(-1).numpy()
    return found


def shifted(
    bordered: Shaped[Tensor, "n c t t"], offsets: NDArray[np.int64], size: int
) -> Shaped[Tensor, "n c {size} {size}"]:
    """Of each image the square that begins at its own offset (down, right), in whole pixels."""
    windows = bordered.unfold(2, size, 1).unfold(3, size, 1)
    rows, (down, right) = np.arange(len(bordered)), offsets.T
    if bordered.device.type == "cpu":  # again many times quicker than torch's index
        return torch.from_numpy(windows.numpy()[rows, :, down, right])
    places = [torch.from_numpy(each).to(bordered.device) for each in (rows, down, right)]
    return windows[places[0], :, places[1], places[2]]


def _bordered(pixels: Tensor, options: Augmentation) -> Tensor:
    """The batch with a border as wide as the largest shift: of zeros, or of the image's reflection in its edge."""
    reach = options.shift
    wide = F.pad(pixels, (reach,) * 4)
    if options.border == "reflect":
        for axis in (-2, -1):  # the second fills the corners, too
            lines = wide.movedim(axis, 0)
            for beyond in range(1, reach + 1):
                lines[reach - beyond] = lines[reach + beyond]
                lines[-reach - 1 + beyond] = lines[-reach - 1 - beyond]
    return wide


def _affine(pixels: Tensor, draws: NDArray[np.float64], options: Augmentation) -> Tensor:
    """Rotation, zoom and shift in one bilinear resampling; zeros or the image's reflection come in."""
    symmetric = torch.from_numpy(2 * draws - 1).float()
    angle = symmetric[:, 3] * math.radians(options.rotate)
    zoom = torch.exp(symmetric[:, 4] * math.log1p(options.zoom))
    shift = symmetric[:, 1:3] * (2 * options.shift / pixels.shape[-1])
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    theta = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    border = "reflection" if options.border == "reflect" else "zeros"
    moved = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode=border, align_corners=False)
    return moved.round().to(pixels.dtype) if pixels.dtype == torch.uint8 else moved
