"""From a raw image to what a network receives: one specification, stored with the weights, used by every command."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fovea.errors import ShapeError

LONGEST = 20  # shorter sides; of a longer image the centre is cut out before it is resized


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize the shorter side, cut or pad the centre to a square, scale, subtract the mean, divide by the deviation.

    Args:
        image_size: Side of the square the network receives, in pixels.
        resize: What the image's shorter side becomes first, in pixels; smaller than image_size means black padding.
        in_channels: 1 turns colour into grey (ITU-R 601 luma), 3 repeats grey.
        scale: The pixel value that counts as 1: 255 for images of 8 bits.
        mean: One per channel, of pixels divided by scale.
        std: One per channel, likewise.
    """

    image_size: int
    resize: int
    in_channels: int
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def fit(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """A raw image (h, w) or (h, w, c) as (in_channels, image_size, image_size), type unchanged.

        Raises:
            ShapeError: channels that cannot become in_channels, or a float image of another size.
        """
        planes = self._channels(image if image.ndim == 3 else image[:, :, None])
        height, width = planes.shape[:2]
        if min(height, width) != self.resize:
            planes = self._resized(planes)
        if planes.shape[:2] != (self.image_size, self.image_size):
            planes = _centred(planes, self.image_size)
        return np.ascontiguousarray(planes.transpose(2, 0, 1))

    def normalise(self, pixels: Shaped[Tensor, "n c s s"]) -> Float[Tensor, "n c s s"]:
        """Fitted pixels as the numbers the network receives, on the same device."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        return pixels.to(torch.float32, copy=True).sub_(mean * self.scale).mul_(1 / (std * self.scale))

    def _channels(self, planes: NDArray[np.generic]) -> NDArray[np.generic]:
        found = planes.shape[2]
        if found == self.in_channels:
            return planes
        if found == 1 and self.in_channels == 3:
            return np.repeat(planes, 3, axis=2)
        if found == 3 and self.in_channels == 1 and planes.dtype == np.uint8:
            return np.asarray(Image.fromarray(planes).convert("L"))[:, :, None]
        raise ShapeError(
            f"an image has {found} channels, but the network takes in_channels={self.in_channels}; "
            f"only 1 and 3 channels of 8 bits turn into each other"
        )

    def _resized(self, planes: NDArray[np.generic]) -> NDArray[np.generic]:
        height, width = planes.shape[:2]
        if planes.dtype != np.uint8 or planes.shape[2] not in (1, 3):
            raise ShapeError(
                f"an image of {height}×{width} pixels, {planes.shape[2]} channels and type {planes.dtype} cannot be "
                f"resized to {self.resize}; give images of 8 bits with 1 or 3 channels, or of the size wanted"
            )
        longest = min(height, width) * max(LONGEST, math.ceil(self.image_size / self.resize))
        top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
        planes = planes[top : top + longest, left : left + longest]
        height, width = planes.shape[:2]
        factor = self.resize / min(height, width)
        size = (max(self.resize, round(width * factor)), max(self.resize, round(height * factor)))
        picture = Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
        resized = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
        return resized if resized.ndim == 3 else resized[:, :, None]


def measure(pixels: Shaped[Tensor, "n c s s"], scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels divided by scale; a constant channel's deviation is 1."""
    count = 0
    sums = torch.zeros(2, pixels.shape[1], dtype=torch.float64)
    for start in range(0, len(pixels), 1024):
        values = pixels[start : start + 1024].double() / scale
        sums += torch.stack([values.sum(dim=(0, 2, 3)), values.square().sum(dim=(0, 2, 3))])
        count += values.numel() // values.shape[1]
    mean = sums[0] / count
    std = (sums[1] / count - mean.square()).clamp(min=0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(round(m, 6) for m in mean.tolist()), tuple(round(s, 6) for s in std.tolist())


def _centred(planes: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Cut the centre out, or pad with zeros around it, each side by itself."""
    height, width, channels = planes.shape
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    cut = planes[top : top + size, left : left + size]
    if cut.shape[:2] == (size, size):
        return cut
    square = np.zeros((size, size, channels), planes.dtype)
    top, left = (size - cut.shape[0]) // 2, (size - cut.shape[1]) // 2
    square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return square
