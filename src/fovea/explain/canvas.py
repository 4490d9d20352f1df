"""An image as free numbers that an optimiser moves: its pixels, or its frequencies, either way never beyond 0 to 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fovea.errors import UsageError, suggestion
from fovea.randomness import key

CanvasKind = Literal["fourier", "pixels"]

NOISE = 0.01  # deviation of the free numbers at the start
EDGE = 0.01  # an image to start from is kept so far from 0 and 1, where the sigmoid has hardly a gradient left

# Colours of natural images vary together. Measured on the 100 ImageNet photographs that fovea knows as imagenet-100,
# every photograph counting alike: the correlations are 0.910 of red and green, 0.820 of red and blue, 0.931 of green
# and blue. This matrix times its transpose is them; its columns are brightness, red against blue, green against both.
COLOURS = ((0.946, 0.316, 0.074), (0.985, -0.029, -0.169), (0.954, -0.283, 0.101))


class Canvas(ABC):
    """Images from free numbers, of which the first gradient steps already make something smooth or not.

    Args:
        shape: (n, c, h, w) of the images.
        seed: Of the noise at the start, which is the same for each of the images.
        start: Images to start from instead, in [0, 1].
        device: Where the numbers are.
        fall: Of waves: their weight is 1 / frequency ** fall; 1 as natural images are, more is smoother.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        *,
        seed: int = 0,
        start: Float[Tensor, "n c h w"] | None = None,
        device: torch.device | str = "cpu",
        fall: float = 1.0,
    ) -> None:
        self.shape, self.seed, self.device, self.fall = shape, seed, torch.device(device), fall
        one = self._noise(0, NOISE)
        self.numbers = one.repeat(shape[0], *[1] * (one.ndim - 1)).requires_grad_()
        if start is not None:
            self.repaint(start)

    def painted(self) -> Float[Tensor, "n c h w"]:
        """The images in [0, 1], as a function of the numbers."""
        return torch.sigmoid(self._logits(self.numbers))

    def repaint(self, images: Float[Tensor, "n c h w"]) -> None:
        """Set the numbers such that they paint these images, kept a hundredth away from 0 and 1."""
        with torch.no_grad():
            inside = images.to(self.numbers).clamp(EDGE, 1 - EDGE)
            self.numbers.copy_(self._numbers(torch.logit(inside)))

    def stir(self, rows: Bool[Tensor, "n"], attempt: int, deviation: float) -> None:
        """Set the numbers of some images to other noise, by the seed and the attempt alone."""
        with torch.no_grad():
            self.numbers[rows] = self._noise(attempt, deviation)

    def _noise(self, attempt: int, deviation: float) -> Tensor:
        shape = self._numbers(torch.zeros(1, *self.shape[1:], device=self.device)).shape
        draws = torch.Generator().manual_seed(key(self.seed, "canvas", attempt))
        return deviation * torch.randn(shape, generator=draws).to(self.device)

    @abstractmethod
    def _logits(self, numbers: Tensor) -> Tensor:
        """What the sigmoid makes pixels of."""

    @abstractmethod
    def _numbers(self, logits: Tensor) -> Tensor:
        """The numbers of such logits."""


class PixelCanvas(Canvas):
    """Each pixel is the sigmoid of a number of its own."""

    def _logits(self, numbers: Tensor) -> Tensor:
        return numbers

    def _numbers(self, logits: Tensor) -> Tensor:
        return logits


class FourierCanvas(Canvas):
    """The numbers are amplitudes of waves, long waves weighing more, of brightness and two colour contrasts.

    A step of one size for all numbers then changes an image as natural images differ: broad shapes before fine noise.
    Numbers of deviation 1 give pixels of deviation 1 before the sigmoid, whatever the size.

    Source: Olah, Mordvintsev and Schubert 2017, "Feature visualization", Distill, section "Preconditioning and
    parameterization".
    """

    def _logits(self, numbers: Tensor) -> Tensor:
        waves = torch.view_as_complex(numbers) * self._weights()
        plain = torch.fft.irfft2(waves, s=self.shape[2:], norm="ortho")
        return plain if (colours := self._colours()) is None else torch.einsum("ij,njhw->nihw", colours, plain)

    def _numbers(self, logits: Tensor) -> Tensor:
        if (colours := self._colours()) is not None:
            logits = torch.einsum("ij,njhw->nihw", torch.linalg.inv(colours), logits)
        return torch.view_as_real(torch.fft.rfft2(logits, norm="ortho") / self._weights()).contiguous()

    def _weights(self) -> Float[Tensor, "h v"]:
        """One over a power of the waves' frequency; the mean over the image counts as the longest wave."""
        height, width = self.shape[2:]
        down, across = (torch.fft.fftfreq(side, device=self.device) for side in (height, width))
        frequency = (down[:, None].square() + across.square()).sqrt().clamp_min(1 / max(height, width))
        weights: Tensor = frequency**-self.fall
        each: Tensor = weights / (2 * weights.square().mean()).sqrt()  # a wave is two numbers
        return each[:, : width // 2 + 1]

    def _colours(self) -> Float[Tensor, "3 3"] | None:
        return torch.tensor(COLOURS, device=self.device) if self.shape[1] == 3 else None


CANVASES: dict[str, type[Canvas]] = {"fourier": FourierCanvas, "pixels": PixelCanvas}


def canvas_class(kind: str) -> type[Canvas]:
    """The canvas of that name.

    Raises:
        UsageError: there is none.
    """
    if kind not in CANVASES:
        raise UsageError(f"canvas (={kind}) must be one of {', '.join(CANVASES)}.{suggestion(kind, CANVASES)}")
    return CANVASES[kind]
