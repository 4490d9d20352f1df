"""Gradients of the explained number with respect to pixels: which would change it most, and which made it."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fovea.explain.baselines import baseline_of
from fovea.explain.question import Answer, Question, batches, gradient, joined, share_missed
from fovea.randomness import key

FIRST_POINTS, AT_ONCE = 17, 16  # on the way from the baseline; halved at a time, whatever the batch


def saliency(question: Question) -> Answer:
    """The gradient's size: of a pixel's channels the largest.

    Source: Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034, section 3.
    """
    return joined([_sizes(pixel_gradient(part, part.images)) for part in question.parts()])


def input_x_gradient(question: Question) -> Answer:
    """Pixels, as the network receives them, times their gradients; the sum over a pixel's channels, with its sign.

    Source: Shrikumar et al. 2016, arXiv:1605.01713.
    """
    return joined([_sums(part.images * pixel_gradient(part, part.images)) for part in question.parts()])


def smoothgrad(question: Question) -> Answer:
    """The size of the mean gradient over noisy copies of the image, in which what is not of the image goes out.

    Source: Smilkov et al. 2017, arXiv:1706.03825.
    """
    options, found = question.options, []
    for place, image in enumerate(question.images):
        deviation = options.noise * (image.max() - image.min())
        total = torch.zeros_like(image)
        for samples in batches(torch.arange(options.samples), options.batch_size):
            noise = torch.stack([_noise(image, key(options.seed, "smoothgrad", place, int(n))) for n in samples])
            total += pixel_gradient(question, image + deviation * noise, place).sum(0)
        found.append(total / options.samples)
    return _sizes(torch.stack(found))


def integrated_gradients(question: Question) -> Answer:
    """The gradient's mean on the way from a baseline to the image, times that way; the sum over a pixel's channels.

    The numbers of an image add up to how much more it scores than the baseline. How far a stretch of the way is from
    its share of that is known, so the worst stretches are halved until the sum is as near as `completeness` asks.

    Source: Sundararajan, Taly and Yan 2017, arXiv:1703.01365.
    """
    baselines = baseline_of(question.images, question.options.baseline, question.black)
    details, gaps = [], []
    for place, baseline in enumerate(baselines):  # one way at a time: it keeps the gradient of each of its points
        way = _Way(question, place, baseline)
        details.append(way.integrated())
        gaps.append(way.gap())
    detail = torch.stack(details)
    return _sums(detail)._replace(gap=torch.tensor(gaps))


class _Way:
    """The straight way from a baseline to an image: what the network scores on it, and the gradient, at some points."""

    def __init__(self, question: Question, place: int, baseline: Tensor) -> None:
        self.question, self.place, self.start = question, place, baseline
        self.whole = question.images[place] - baseline
        self.gradients: dict[float, Tensor] = {}
        self.scores: dict[float, float] = {}
        self.slopes: dict[float, float] = {}  # how fast the score rises on the way
        self._visit(np.linspace(0, 1, FIRST_POINTS).tolist())

    def integrated(self) -> Float[Tensor, "c h w"]:
        """Go on until it is complete, or the points are used up; the trapezoids' sum."""
        options = self.question.options
        while self.gap() > options.completeness:
            points, left = sorted(self.scores), options.most_steps - len(self.scores)
            if left <= 0:
                break
            worst = np.argsort(-np.abs(self.errors()), kind="stable")[: min(AT_ONCE, left)].tolist()
            self._visit([(points[place] + points[place + 1]) / 2 for place in worst])
        total = torch.zeros_like(self.whole)
        for before, after in itertools.pairwise(sorted(self.scores)):
            total += (after - before) / 2 * (self.gradients[before] + self.gradients[after])
        return self.whole * total

    def gap(self) -> float:
        """How far the trapezoids' sum is from what the image scores more than the baseline, as a share of that."""
        return share_missed(float(self.errors().sum()), self.scores[1.0] - self.scores[0.0])

    def errors(self) -> NDArray[np.float64]:
        """Of each stretch what its trapezoid misses of what the network's score rises there."""
        points = np.array(sorted(self.scores))
        scores, slopes = (np.array([own[point] for point in points.tolist()]) for own in (self.scores, self.slopes))
        missed: NDArray[np.float64] = np.diff(scores) - np.diff(points) * (slopes[:-1] + slopes[1:]) / 2
        return missed

    def _visit(self, points: list[float]) -> None:
        size = self.question.options.batch_size
        for some in (points[first : first + size] for first in range(0, len(points), size)):
            along = torch.tensor(some, device=self.whole.device, dtype=self.whole.dtype).view(-1, 1, 1, 1)
            images = (self.start + along * self.whole).requires_grad_()
            scores = self.question.score(images, torch.full((len(some),), self.place))
            grown = gradient(scores, images, "the image")
            self.scores |= dict(zip(some, scores.tolist(), strict=True))
            self.slopes |= dict(zip(some, (grown * self.whole).flatten(1).sum(1).tolist(), strict=True))
            self.gradients |= dict(zip(some, grown, strict=True))


def pixel_gradient(question: Question, images: Tensor, place: int | None = None) -> Float[Tensor, "m c h w"]:
    """The gradient of what is explained with respect to images: the question's own, or variants of one of them."""
    images = images.detach().clone().requires_grad_()
    rows = None if place is None else torch.full((len(images),), place)
    return gradient(question.score(images, rows), images, "the image")


def _sizes(detail: Tensor) -> Answer:
    return Answer(detail.abs().amax(1), detail)


def _sums(detail: Tensor) -> Answer:
    return Answer(detail.sum(1), detail)


def _noise(image: Tensor, draw_key: int) -> Tensor:
    return torch.randn(image.shape, generator=torch.Generator().manual_seed(draw_key)).to(image.device)
