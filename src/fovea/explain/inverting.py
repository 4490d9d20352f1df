"""Inverted representations: images that a network cannot tell from one that it was shown, as far as a stage knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from numpy.typing import NDArray
from torch import Tensor

from fovea.errors import UsageError, require
from fovea.explain.aims import check_images
from fovea.explain.canvas import Canvas, CanvasKind, canvas_class
from fovea.explain.places import place_of
from fovea.explain.priors import alpha_norm, total_variation
from fovea.explain.question import batches, gradient
from fovea.explain.reaching import Reach, black, pictures_of, reach, received, require_finite, rounded
from fovea.explain.untouched import untouched
from fovea.runtime.model import Model

SMALLEST = 1e-12  # a squared representation below this counts as this, so that one of zeros can be asked for


@dataclass(frozen=True, kw_only=True)
class InvertingOptions:
    """How images are sought whose representation is that of a given one."""

    canvas: CanvasKind = "fourier"
    """What is optimised: the image's waves, or its pixels."""
    fall: float = 1.0
    """How steeply the weight of waves falls with their frequency: 1 as in natural images, more is smoother."""
    steps: int = 256
    """Updates."""
    lr: float = 0.1
    """Adam's learning rate at the start; it falls to 0 as half a cosine."""
    alpha: float = 6.0
    """Exponent of the norm that keeps values from black and white, which count as -1 and 1."""
    alpha_weight: float = 0.0
    """What the mean of |value| ** alpha adds to the squared relative error."""
    beta: float = 2.0
    """Exponent of the total variation: 1 leaves edges sharp, 2 blurs."""
    variation_weight: float = 1.0
    """What the mean total variation adds to the squared relative error."""
    batch_size: int = 16
    """Images that run at once."""
    seed: int = 0
    """Of the noise at the start."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: one is.
        """
        canvas_class(self.canvas)
        require("fall", self.fall, 0 <= self.fall <= 4, "0 to 4")
        require("steps", self.steps, self.steps >= 1, "1 or more")
        require("lr", self.lr, 0 < self.lr < float("inf"), "above 0")
        require("alpha", self.alpha, 1 <= self.alpha < float("inf"), "1 or more")
        require("beta", self.beta, 1 <= self.beta < float("inf"), "1 or more")
        require("alpha_weight", self.alpha_weight, 0 <= self.alpha_weight < float("inf"), "0 or more")
        require("variation_weight", self.variation_weight, 0 <= self.variation_weight < float("inf"), "0 or more")
        require("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """What stages of a network keep of images.

    Args:
        stages: By name.
        originals: The images.
        pictures: For each stage and image, an image with nearly the same representation there.
        errors: How near: the distance of the two representations as a share of the length of the original's; 0 is
            equal.
    """

    stages: tuple[str, ...]
    originals: UInt8[NDArray[np.uint8], "n h w c"]
    pictures: UInt8[NDArray[np.uint8], "m n h w c"]
    errors: Float32[NDArray[np.float32], "m n"]

    def __str__(self) -> str:
        told = zip(self.stages, self.errors.mean(1), strict=True)
        return "\n".join(f"{stage}: the representation is off by {100 * error:.3g} %" for stage, error in told)


def invert(
    model: Model,
    images: Shaped[Tensor, "n c h w"],
    *,
    stages: Sequence[str],
    options: InvertingOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inverted:
    """For each stage and image another image that the stage takes for it: what differs, the stage no longer knows.

    What is made least is the squared distance of the representations as a share of the original's squared length, and
    penalties on values near black and white and on differences between neighbours. The sigmoid of the canvas keeps
    values in range by itself, so the first penalty weighs nothing unless asked for. Each image starts from the same
    noise. The network runs up to the stage alone and is afterwards as it was, after an error too.

    Args:
        model: It.
        images: Fitted pixels, from 0 to the preprocessing's scale.
        stages: Stages or layers.
        options: How; all as it comes where None.
        progress: Is told the steps done and all.

    Raises:
        UsageError: there is no such stage, or none is named.
        ModelError: a stage does not depend on the image.
        NumbersError: a representation became NaN or infinite.

    Source: Mahendran and Vedaldi 2015, arXiv:1412.0035; with Adam on the canvas of Olah et al. 2017 for descent with
    momentum on pixels.
    """
    options = options or InvertingOptions()
    check_images(images)
    if not stages:
        raise UsageError("there is no stage to invert; name one")
    with untouched(model.network):
        whole = (images.to(model.device).float() / model.bundle.preprocessing.scale).clamp(0, 1)
        parts = list(batches(whole, options.batch_size))
        places = [place_of(model.network, black(model), stage) for stage in stages]
        inversions = _Inversions(model, options, len(places) * len(parts), progress)
        found = [[inversions.found(reach(model.network, place), part) for part in parts] for place in places]
    return Inverted(
        stages=tuple(stages),
        originals=pictures_of(whole),
        pictures=np.stack([np.concatenate([pictures for pictures, _ in row]) for row in found]),
        errors=np.stack([np.concatenate([errors for _, errors in row]) for row in found]),
    )


class _Inversions:
    """Inversions of one kind, stage after stage and batch after batch."""

    def __init__(
        self, model: Model, options: InvertingOptions, count: int, progress: Callable[[int, int], None] | None
    ) -> None:
        self.model, self.options, self.progress = model, options, progress
        self.done, self.all = 0, count * options.steps

    def found(self, read: Reach, images: Float[Tensor, "n c h w"]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Pictures that are taken for the images, and how near they come."""
        options = self.options
        with torch.no_grad():
            wanted = read(received(self.model, images))
        require_finite(wanted, "the representation of an image", 0)
        shape = (len(images), *images.shape[1:])
        canvas = canvas_class(options.canvas)(shape, seed=options.seed, device=self.model.device, fall=options.fall)
        adam = torch.optim.Adam([canvas.numbers], lr=options.lr)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, options.steps)
        for step in range(1, options.steps + 1):
            canvas.numbers.grad = self._gradient(canvas, read, wanted, step)
            adam.step()
            falling.step()
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.all)
        with torch.no_grad():
            errors = self._distances(read, rounded(canvas.painted()), wanted).sqrt()
        return pictures_of(canvas.painted()), errors.float().cpu().numpy()

    def _gradient(self, canvas: Canvas, read: Reach, wanted: Tensor, step: int) -> Tensor:
        options, images = self.options, canvas.painted()
        distances = self._distances(read, images, wanted)
        require_finite(distances, "a representation", step)
        grown = gradient(distances, images, "the image")
        centred = 2 * images - 1
        penalties = options.alpha_weight * alpha_norm(centred, options.alpha)
        penalties = penalties + options.variation_weight * total_variation(centred, options.beta)
        (found,) = torch.autograd.grad((images * grown).sum() + penalties.sum(), canvas.numbers)
        return found

    def _distances(self, read: Reach, images: Tensor, wanted: Tensor) -> Float[Tensor, "n"]:
        """Squared, as shares of the squared length wanted."""
        apart = read(received(self.model, images)) - wanted
        return apart.square().flatten(1).sum(1) / wanted.square().flatten(1).sum(1).clamp_min(SMALLEST)
