"""DeepDream: an image changed such that whatever a stage sees in it, it sees more of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.errors import ShapeError, require
from fovea.explain.aims import check_images
from fovea.explain.baselines import blurred
from fovea.explain.places import place_of
from fovea.explain.priors import offsets
from fovea.explain.question import batches, gradient
from fovea.explain.reaching import Reach, black, fits, pictures_of, reach, received, require_finite, rounded
from fovea.explain.untouched import untouched
from fovea.randomness import key
from fovea.runtime.model import Model

FLAT = 1e-12  # a mean gradient below this counts as none


@dataclass(frozen=True, kw_only=True)
class DreamingOptions:
    """How far and at which sizes a network dreams."""

    octaves: int = 4
    """Sizes at which it looks at the image, the largest being the image's; those too small for the stage are left."""
    ratio: float = 1.4
    """Of an octave's side to the next smaller one's."""
    steps: int = 20
    """Updates at each octave."""
    rate: float = 0.01
    """How much an update changes a value on average; the range from black to white is 1."""
    jitter: float = 0.15
    """The most that the image is shifted at each step, as a share of its shorter side."""
    blur: float = 0.6
    """Deviation in pixels of the Gaussian that the gradient goes through, against grain; 0 is none."""
    batch_size: int = 16
    """Images that run at once."""
    seed: int = 0
    """Of the shifts."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        require("octaves", self.octaves, self.octaves >= 1, "1 or more")
        require("ratio", self.ratio, 1 < self.ratio < float("inf"), "above 1")
        require("steps", self.steps, self.steps >= 1, "1 or more")
        require("rate", self.rate, 0 < self.rate < 1, "above 0 and below 1")
        require("jitter", self.jitter, 0 <= self.jitter < 1, "0 or more and below 1")
        require("blur", self.blur, 0 <= self.blur < float("inf"), "0 or more")
        require("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Dreamed:
    """Images that a network dreamed on.

    Args:
        stage: Of which it saw more.
        sizes: Height and width of each octave, the smallest first.
        pictures: The images as they became.
        before: The mean square of the stage's activations, of the images given.
        after: The same, of the pictures.
    """

    stage: str
    sizes: tuple[tuple[int, int], ...]
    pictures: UInt8[NDArray[np.uint8], "n h w c"]
    before: Float32[NDArray[np.float32], "n"]
    after: Float32[NDArray[np.float32], "n"]

    def __str__(self) -> str:
        rise = self.after.mean() / max(float(self.before.mean()), FLAT)
        return f"{self.stage}: mean square {rise:.3g} times that of the images, over {len(self.sizes)} sizes"


def dream(
    model: Model,
    images: Shaped[Tensor, "n c h w"],
    *,
    stage: str,
    options: DreamingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dreamed:
    """Gradient ascent on the mean square of a stage's activations, from the images, from small sizes to their own.

    What was added at one size is enlarged and added to the image at the next, so that large shapes come before detail
    while the image itself never loses any. The network runs up to the stage alone and is afterwards as it was, after
    an error too.

    Args:
        model: It.
        images: Fitted pixels, from 0 to the preprocessing's scale; they may be larger than the network's.
        stage: A stage or layer.
        options: How; all as it comes where None.
        progress: Is told the steps done and all.

    Raises:
        UsageError: there is no such stage.
        ShapeError: the images do not get as far as the stage.
        ModelError: the stage does not depend on the image.
        NumbersError: activations became NaN or infinite.

    Source: Mordvintsev, Olah and Tyka 2015, "Inceptionism: going deeper into neural networks", Google research blog.
    """
    options = options or DreamingOptions()
    check_images(images)
    with untouched(model.network):
        whole = (images.to(model.device).float() / model.bundle.preprocessing.scale).clamp(0, 1)
        read = reach(model.network, place_of(model.network, black(model), stage))
        sizes = _sizes(model, read, whole, options)
        if not sizes:
            raise ShapeError(f"images of {whole.shape[2]}×{whole.shape[3]} do not reach {stage}; give larger ones")
        parts = list(batches(whole, options.batch_size))
        dreams = _Dreams(model, read, options, len(parts) * len(sizes) * options.steps, progress)
        found = torch.cat([rounded(dreams.grown(part, sizes)) for part in parts])
        before, after = (
            torch.cat([dreams.judged(part) for part in batches(each, options.batch_size)]) for each in (whole, found)
        )
    return Dreamed(
        stage=stage,
        sizes=sizes,
        pictures=pictures_of(found),
        before=before.cpu().numpy(),
        after=after.cpu().numpy(),
    )


class _Dreams:
    """Dreams of one kind, batch after batch."""

    def __init__(
        self,
        model: Model,
        read: Reach,
        options: DreamingOptions,
        count: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.model, self.read, self.options, self.progress = model, read, options, progress
        self.done, self.all = 0, count

    def grown(self, images: Tensor, sizes: tuple[tuple[int, int], ...]) -> Float[Tensor, "n c h w"]:
        """The images, dreamed on at one size after the other."""
        detail = torch.zeros_like(images[:, :, :1, :1])
        for octave, size in enumerate(sizes):
            base = _resized(images, size)
            dreamed = (base + _resized(detail, size)).clamp(0, 1)
            for step in range(self.options.steps):
                dreamed = self._step(dreamed, key(self.options.seed, "dream", octave, step))
            detail = dreamed - base
        return dreamed

    def judged(self, images: Tensor) -> Float[Tensor, "n"]:
        """The mean squares of the stage's activations."""
        with torch.no_grad():
            return self._squares(images).float()

    def _step(self, images: Tensor, draw_key: int) -> Tensor:
        """One update of images shifted meanwhile, the gradient's mean size being 1."""
        down, right = offsets(round(self.options.jitter * min(images.shape[2:])), draw_key)
        shifted = images.roll((down, right), (2, 3)).requires_grad_()
        grown = gradient(self._squares(shifted), shifted, "the image").roll((-down, -right), (2, 3))
        if self.options.blur:
            grown = blurred(grown, self.options.blur)
        mean = grown.abs().mean((1, 2, 3), keepdim=True).clamp_min(FLAT)
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.all)
        return (images + self.options.rate * grown / mean).clamp(0, 1)

    def _squares(self, images: Tensor) -> Tensor:
        squares = self.read(received(self.model, images)).square().flatten(1).mean(1)
        require_finite(squares, "the stage's mean square", self.done)
        return squares


def _sizes(model: Model, read: Reach, images: Tensor, options: DreamingOptions) -> tuple[tuple[int, int], ...]:
    """Of the octaves, the smallest first, those that get as far as the stage."""
    found: list[tuple[int, int]] = []
    for octave in range(options.octaves):
        height, width = (max(1, round(side / options.ratio**octave)) for side in images.shape[2:])
        if not fits(read, received(model, torch.zeros_like(images[:1, :, :1, :1]).expand(-1, -1, height, width))):
            break
        found.insert(0, (height, width))
    return tuple(found)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[2:] == size:
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
