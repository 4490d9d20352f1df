"""From a raw image to what a network receives: one specification, stored with the weights, used by every command."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fovea.data.options import Interpolation
from fovea.errors import ShapeError

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
LONGEST = 20  # shorter sides; of a longer image the centre is cut out before it is resized


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize the shorter side, cut or pad the centre to a square, scale, subtract the mean, divide by the deviation.

    Args:
        image_size: Side of the square the network receives, in pixels.
        resize: What the image's shorter side becomes first, in pixels; smaller than image_size means black padding.
        in_channels: 1 turns colour into grey (ITU-R 601 luma), 3 repeats grey.
        scale: The pixel value that counts as 1: 255 for images of 8 bits.
        mean: Of pixels divided by scale: one per channel, or one for each value of the network's square (AlexNet's mean
            image), channel by channel and row by row.
        std: One per channel, likewise.
        interpolation: How the image is resized, by Pillow, which smooths before it shrinks.
    """

    image_size: int
    resize: int
    in_channels: int
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        """Refuse sizes and numbers that cannot be.

        Raises:
            ShapeError: another number of means or deviations than channels or values.
        """
        values = self.in_channels * self.image_size**2
        if len(self.mean) not in (1, self.in_channels, values) or len(self.std) not in (1, self.in_channels):
            raise ShapeError(
                f"mean ({len(self.mean)} numbers) and std ({len(self.std)}) must have 1 or in_channels "
                f"(={self.in_channels}) numbers each; a mean image has {values}"
            )

    def fit(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """A raw image (h, w) or (h, w, c) as (in_channels, image_size, image_size), channels last in memory.

        Raises:
            ShapeError: channels that cannot become in_channels, or a float image of another size.
        """
        planes = self.channelled(image)
        height, width = planes.shape[:2]
        if min(height, width) != self.resize:
            planes = self.rescaled(planes)
        if planes.shape[:2] != (self.image_size, self.image_size):
            planes = _centred(planes, self.image_size)
        return np.ascontiguousarray(planes).transpose(2, 0, 1)

    def normalise(self, pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Fitted pixels as the numbers the network receives, on the same device; channels stay last where they are.

        Fitted pixels are square; dense evaluation has rectangles, to which a mean image cannot be applied.
        """
        if pixels.shape[1] == 1 or not pixels.is_contiguous(memory_format=torch.channels_last):
            mean, factor = self._moments(pixels.device)
            return pixels.to(torch.float32, copy=True).sub_(mean).mul_(factor)
        count, channels, height, width = pixels.shape
        mean, factor = (self._row(each, width) for each in self._moments(pixels.device))
        rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * channels)
        numbers = rows.to(torch.float32, copy=True).sub_(mean).mul_(factor)
        return numbers.view(count, height, width, channels).permute(0, 3, 1, 2)

    def pictured(self, images: Float[Tensor, "n c s s"]) -> NDArray[np.uint8]:
        """The network's numbers as pictures (n, s, s, c) again, for people: what leaves 0 to 255 is clipped."""
        mean, factor = self._moments(images.device)
        pixels = (images / factor + mean) * (255 / self.scale)
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    def _moments(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """What is subtracted and what multiplies, in units of pixels, to be spread over (c, s, s)."""
        mean, factor = self._on_cpu
        return mean.to(device), factor.to(device)

    @cached_property
    def _on_cpu(self) -> tuple[Tensor, Tensor]:
        """The same, made once: of a mean image's thousands of numbers it takes longer than a batch of small images."""
        with torch.inference_mode(False):  # whoever asks first, gradients may flow through them later
            mean, std = torch.tensor(self.mean), torch.tensor(self.std)
            shape = (-1, 1, 1) if len(mean) <= self.in_channels else (self.in_channels, *2 * [self.image_size])
            return mean.view(shape) * self.scale, 1 / (std[:, None, None] * self.scale)

    def _row(self, numbers: Tensor, width: int) -> Tensor:
        """Numbers spread over (c, s, s) as rows (1 or s, width * c) of an image with its channels last.

        Long rows are what makes this quick: three channels at a time are less than a vector of the processor.
        """
        spread = numbers.expand(self.in_channels, -1, width) if numbers.shape[2] == 1 else numbers
        return spread.permute(1, 2, 0).reshape(spread.shape[1], width * self.in_channels)

    def channelled(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """A raw image as (h, w, in_channels).

        Raises:
            ShapeError: channels that cannot become in_channels.
        """
        planes = image if image.ndim == 3 else image[:, :, None]
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

    def rescaled(self, planes: NDArray[np.generic]) -> NDArray[np.generic]:
        """An image (h, w, c) whose shorter side has become `resize` pixels; of a very long one the middle.

        Raises:
            ShapeError: not of 8 bits, or another number of channels than 1 or 3.
        """
        height, width = planes.shape[:2]
        if planes.dtype != np.uint8 or planes.shape[2] not in (1, 3):
            raise ShapeError(
                f"an image of {height}×{width} pixels, {planes.shape[2]} channels and type {planes.dtype} cannot be "
                f"resized to {self.resize}; give images of 8 bits with 1 or 3 channels, or of the size wanted"
            )
        longest = min(height, width) * max(LONGEST, math.ceil(self.image_size / self.resize))
        top, left = max(0, (height - longest) // 2), max(0, (width - longest) // 2)
        return resized(planes[top : top + longest, left : left + longest], self.resize, self.interpolation)


def resized(planes: NDArray[np.generic], side: int, interpolation: Interpolation = "bilinear") -> NDArray[np.generic]:
    """An image (h, w, c) of 8 bits whose shorter side has become `side` pixels, c being 1 or 3."""
    height, width = planes.shape[:2]
    factor = side / min(height, width)
    size = (max(side, round(width * factor)), max(side, round(height * factor)))
    picture = Image.fromarray(planes[:, :, 0] if planes.shape[2] == 1 else planes)
    found = np.asarray(picture.resize(size, RESAMPLING[interpolation]))
    return found if found.ndim == 3 else found[:, :, None]


def mean_image(pixels: Shaped[Tensor, "n c s s"], scale: float) -> tuple[float, ...]:
    """The mean of each of the network's values over the images, of pixels divided by scale, to six digits.

    Source: Krizhevsky, Sutskever and Hinton 2012, section 2: the mean activity over the training set of each pixel.
    """
    sums = torch.zeros(pixels.shape[1:], dtype=torch.float64)
    for start in range(0, len(pixels), 1024):
        sums += pixels[start : start + 1024].double().sum(dim=0)
    return tuple(round(value, 6) for value in (sums / (len(pixels) * scale)).flatten().tolist())


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
