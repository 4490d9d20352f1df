"""What a picture shall become: the maps that are its content, the Gram matrices that are its style; and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fovea.explain.priors import total_variation
from fovea.style.gram import gram
from fovea.style.perception import Perception, Reading
from fovea.style.tiles import Spans

VARIATION = 1e3  # by which the mean total variation is multiplied, so that its weights are numbers about 1

Grams = list[dict[str, Float[Tensor, "c c"]]]  # by region and layer


class Terms(NamedTuple):
    """What the loss is made of, each already weighed: numbers, or tensors without dimensions."""

    content: Tensor
    style: Tensor
    variation: Tensor

    @property
    def total(self) -> Tensor:
        """The loss."""
        return self.content + self.style + self.variation


class Weights(NamedTuple):
    """What content, style and total variation weigh."""

    content: float
    style: float
    variation: float


class Region(NamedTuple):
    """Where in the picture which styles are wanted.

    Args:
        shares: By layer what each place counts; they add up to 1. None for the whole picture.
        area: Its share of the picture.
        grams: Of each style by layer the mean product of filters' responses, the filters scaled.
        weights: What each style weighs: those of several styles in one place add up to 1, and those of one style in
            each region to the number of regions.
    """

    shares: dict[str, Float[Tensor, "h w"]] | None
    area: float
    grams: list[dict[str, Float[Tensor, "c c"]]]
    weights: Sequence[float]


class Aim:
    """The loss, from what is read of a picture: the paper's (equations 1 to 7), weighed as in its authors' code.

    Content is the mean squared difference of maps, style the sum over layers of the mean squared difference of Gram
    matrices divided by the square of the number of filters; so a weight means the same at every size. The paper prints
    sums, and for them a ratio of 1 to 1,000, with which hardly any style is left at its sizes (docs/log.md).

    Args:
        perception: What reads.
        content: The maps that are wanted of the content layer.
        places: By layer how many places the maps of the picture have.
        regions: The styles.
        weights: Of the terms.

    Source: Gatys, Ecker and Bethge 2016, CVPR, "Image style transfer using convolutional neural networks".
    """

    def __init__(
        self,
        perception: Perception,
        content: Float[Tensor, "1 c h w"],
        places: dict[str, int],
        regions: Sequence[Region],
        weights: Weights,
    ) -> None:
        self.layers, self.scales = perception.layers, perception.scales
        self.content, self.places, self.regions, self.weights = content, places, regions, weights

    def variation_of(self, images: Float[Tensor, "1 3 h w"]) -> Tensor:
        """The term of total variation."""
        if not self.weights.variation:
            return images.new_zeros(())
        return self.weights.variation * VARIATION * total_variation(images)[0]

    def content_of(self, maps: Float[Tensor, "1 c h w"], content: Float[Tensor, "1 c h w"]) -> Tensor:
        """The term of content, of all the content layer's maps or of a part of them."""
        if not self.weights.content:
            return maps.new_zeros((), dtype=torch.float32)
        apart = (maps - content).float() / self.scales[self.layers.content][:, None, None]
        values = self.places[self.layers.content] * maps.shape[1]
        return self.weights.content * apart.square().sum() / values

    def grams_of(self, reading: Reading, part: dict[str, Spans]) -> Grams:
        """Mean products by region and layer, as far as the part of the maps that was read adds to them."""
        if not self.weights.style:
            return []
        found: Grams = []
        for region in self.regions:
            own = {}
            for name in self.layers.style:
                shares = None if region.shares is None else region.shares[name][part[name]]
                products = gram(reading[name], shares) / (self.places[name] if shares is None else 1)
                own[name] = products / outer(self.scales[name])
            found.append(own)
        return found

    def style_of(self, grams: Grams) -> Tensor:
        """The term of style, of the Gram matrices of the whole picture."""
        found = [torch.zeros((), device=next(iter(self.scales.values())).device)]
        for region, own in zip(self.regions, grams, strict=False):
            for wanted, weight in zip(region.grams, region.weights, strict=True):
                found.append(region.area * weight * style_distance(own, wanted))
        return self.weights.style * torch.stack(found).sum()


def style_distance(own: dict[str, Float[Tensor, "c c"]], wanted: dict[str, Float[Tensor, "c c"]]) -> Tensor:
    """Mean squared differences of Gram matrices, each divided by the square of the number of filters, added up."""
    each = [(own[name] - other).square().mean() / len(other) ** 2 for name, other in wanted.items()]
    return torch.stack(each).sum()


def outer(scales: Float[Tensor, "c"]) -> Float[Tensor, "c c"]:
    """What products of scaled filters are to be divided by."""
    return scales[:, None] * scales


def shares_of(
    mask: Float[Tensor, "h w"], maps: dict[str, tuple[int, int]]
) -> tuple[dict[str, Float[Tensor, "i j"]], float]:
    """A mask in [0, 1] as what each place of each layer counts, and the mask's share of the picture.

    Masks are shrunk to the maps by areas; a guidance channel is the mask, so a place counts by its square.
    """
    found = {}
    for name, size in maps.items():
        squares = F.adaptive_avg_pool2d(mask[None, None], size)[0, 0].square()
        found[name] = squares / squares.sum().clamp_min(torch.finfo(torch.float32).tiny)
    return found, float(mask.mean())
