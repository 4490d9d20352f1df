"""A question to a network, what made it say this of these images, and an answer: how much each pixel did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from fovea.errors import ModelError
from fovea.explain.aims import Unit, class_score, unit_score
from fovea.explain.options import ExplainOptions


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a network; it is in evaluation mode, as `untouched` has it.

    Args:
        network: It.
        images: As it receives them.
        aim: The class of each image whose logit is explained, or the unit whose activation is.
        layer: The stage or module that a class activation map is of; the last with maps where None.
        black: The black image as the network receives it; zeros where None.
        options: What the method leaves open.
    """

    network: nn.Module
    images: Float[Tensor, "n c h w"]
    aim: Int[Tensor, "n"] | Unit
    layer: str | None = None
    black: Float[Tensor, "1 c h w"] | None = None
    options: ExplainOptions = field(default_factory=ExplainOptions)

    def score(self, images: Float[Tensor, "m c h w"], rows: Int[Tensor, "m"] | None = None) -> Float[Tensor, "m"]:
        """The number that is explained, of variants of the images; `rows` says of which image each is one."""
        if isinstance(self.aim, Unit):
            return unit_score(self.network, self.aim)(images)
        return class_score(self.network, self.aim if rows is None else self.aim[rows])(images)

    def parts(self) -> Iterator[Question]:
        """The same question of a batch of the images at a time."""
        size = self.options.batch_size
        for first in range(0, len(self.images), size):
            rows = slice(first, first + size)
            aim = self.aim if isinstance(self.aim, Unit) else self.aim[rows]
            yield replace(self, images=self.images[rows], aim=aim)


class Answer(NamedTuple):
    """How much each pixel did.

    Args:
        maps: One number for each pixel; more is more important.
        detail: The same for each channel of a pixel, where the method tells them apart.
        gap: Where theory promises that the numbers add up: how far they are from it, as a share; 0 is exact.
        layer: The place that a class activation map is of.
    """

    maps: Float[Tensor, "n h w"]
    detail: Float[Tensor, "n c h w"] | None = None
    gap: Float[Tensor, "n"] | None = None
    layer: str | None = None


def joined(answers: list[Answer]) -> Answer:
    """The answers for batches as one."""
    first = answers[0]
    return Answer(
        torch.cat([each.maps for each in answers]),
        None if first.detail is None else torch.cat([each.detail for each in answers if each.detail is not None]),
        None if first.gap is None else torch.cat([each.gap for each in answers if each.gap is not None]),
        first.layer,
    )


def batches(rows: Shaped[Tensor, "n *c"], size: int) -> Iterator[Shaped[Tensor, "m *c"]]:
    """So many rows at a time."""
    return (rows[first : first + size] for first in range(0, len(rows), size))


def share_missed(missed: float, promised: float) -> float:
    """How far a sum is from what was promised, as a share of it, of a thousandth at least."""
    return abs(missed) / max(abs(promised), 1e-3)


def gradient(score: Tensor, of: Tensor, what: str) -> Tensor:
    """The gradient of each image's number.

    Raises:
        ModelError: the number does not depend on it.
    """
    found: Tensor | None = None
    if score.requires_grad:
        (found,) = torch.autograd.grad(score.sum(), of, allow_unused=True)
    if found is None:
        raise ModelError(f"what is explained does not depend on {what}; choose a layer before it, or another target")
    return found


def enlarged(maps: Float[Tensor, "n i j"], like: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
    """Maps at the size of the images, interpolated linearly."""
    size = (like.shape[2], like.shape[3])
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
