"""Whether an explanation points at its object: mosaics of four images, in which we know where the object is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fovea import randomness
from fovea.errors import DataError, ShapeError, require
from fovea.evaluation.metrics import Interval, wilson_interval
from fovea.explain.faithfulness import Explainer, maps_of

QUARTERS = 4
CHANCE = 1 / QUARTERS
AT_ONCE = 64  # mosaics that are made at a time


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Mosaics of four images, one in each quarter.

    Args:
        images: Of the size and type of the images that they are composed of.
        targets: The class that is looked for in each; it is in one quarter alone.
        places: Which: 0 upper left, 1 upper right, 2 lower left, 3 lower right.
    """

    images: Shaped[Tensor, "n c s s"]
    targets: Int[Tensor, "n"]
    places: Int[Tensor, "n"]


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """How well a method finds the target's quarter.

    Args:
        method: Its name.
        mosaics: How many were explained.
        hits: In how many the map's maximum lies in the target's quarter.
        share: The mean share of what is positive in a map that lies in the target's quarter, in [0, 1].
    """

    method: str
    mosaics: int
    hits: int
    share: float

    @property
    def accuracy(self) -> float:
        """The fraction of the mosaics in which the maximum lies in the target's quarter; by chance it is 0.25."""
        return self.hits / self.mosaics

    @property
    def interval(self) -> Interval:
        """Its 95 % Wilson interval."""
        return wilson_interval(self.hits, self.mosaics)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.method}: the maximum lies in the target's quarter of {self.hits:,} of {self.mosaics:,} mosaics, "
            f"{self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}; by chance {CHANCE:.0%}), and "
            f"{self.share:.2%} of what is positive in the map lies there"
        )


def composed(pixels: Shaped[Tensor, "n c s s"], labels: Int[Tensor, "n2"], *, count: int, seed: int = 0) -> Composed:
    """Mosaics of four images, each shrunk to half its side, so that the whole has the network's own size.

    The four are of four classes where there are as many; else the target's class is in its quarter alone, and others
    come again. Of images of an odd side the last row and column stay 0, which belong to no quarter.

    Args:
        pixels: At the network's size, not normalised. An explanation can only point at what the network sees: give
            images that it gets right, best with a high probability.
        labels: Their classes.
        count: Mosaics.
        seed: Of which images they are made of, and where these stand; mosaic i is the same whatever the count.

    Raises:
        DataError: the images are of a single class, or there is none.
        ShapeError: images of a single pixel, or another number of labels than images.
        UsageError: count is below 1.

    Source: Zhang et al. 2016, "Top-down neural attention by excitation backprop", arXiv:1608.00507, section 4.2, for
    the pointing game; Rao, Böhle and Schiele 2022, "Towards better understanding attribution methods",
    arXiv:2205.10435, for mosaics with a known place.
    """
    require("count", count, count >= 1, "1 or more")
    side = pixels.shape[-1]
    if len(labels) != len(pixels) or side < 2:
        raise ShapeError(
            f"{len(pixels)} images of {side}×{side} pixels need as many labels (={len(labels)}) and 2 pixels a side"
        )
    found, classes = np.unique(labels.cpu().numpy(), return_inverse=True)
    if len(found) < 2:
        raise DataError(
            f"a mosaic needs images of 2 classes or more, and these {len(pixels)} are of {len(found)}; give others"
        )
    by_class = [np.flatnonzero(classes == each) for each in range(len(found))]
    drawn = [_drawn(classes, by_class, seed, place) for place in range(count)]
    members = torch.tensor([each for each, _ in drawn])
    places = torch.tensor([place for _, place in drawn])
    targets = labels.cpu()[members.gather(1, places[:, None])[:, 0]]
    images = torch.cat([_mosaics(pixels, some) for some in torch.split(members, AT_ONCE)])
    return Composed(images=images, targets=targets, places=places)


def pointing(
    network: nn.Module,
    images: Float[Tensor, "n c h w"],
    targets: Int[Tensor, "n2"],
    explain: Explainer,
    *,
    places: Int[Tensor, "n3"],
    name: str | None = None,
) -> Pointing:
    """Does the map of a mosaic point at the quarter where its target is?

    The maximum must lie in that quarter alone: a map that is as large elsewhere does not point, and misses. A map in
    which nothing is positive has a share of 0.

    Args:
        network: Any module from images to logits; it runs in evaluation mode and is afterwards as it was.
        images: Mosaics that `composed` made, as the network receives them.
        targets: What is looked for in each.
        explain: The method; it sees all mosaics at once and cuts them into batches itself.
        places: The quarter of each in which it is.
        name: The method's; its function's where None.

    Raises:
        ShapeError: targets, places or the maps that the method gives do not fit the images.
        UsageError: a place outside 0 to 3.

    Source: as `composed`.
    """
    if places.shape != images.shape[:1]:
        raise ShapeError(f"places (shape {tuple(places.shape)}) must name a quarter for each of {len(images)} images")
    outside = places[(places < 0) | (places >= QUARTERS)].tolist()
    require("places", outside[:1], not outside, "0 to 3")
    maps = maps_of(network, images, targets, explain)
    own = _quarters(*maps.shape[1:])[places.cpu()]
    lowest = torch.tensor(-torch.inf)
    hits = maps.where(own, lowest).amax((1, 2)) > maps.where(~own, lowest).amax((1, 2))
    positive = maps.clamp_min(0).double()
    shares = (positive * own).sum((1, 2)) / positive.sum((1, 2)).clamp_min(torch.finfo(torch.float64).tiny)
    return Pointing(
        method=name or str(getattr(explain, "__name__", "the method")),
        mosaics=len(maps),
        hits=int(hits.sum()),
        share=float(shares.mean()),
    )


def _drawn(
    classes: NDArray[np.int64], by_class: list[NDArray[np.int64]], seed: int, mosaic: int
) -> tuple[list[int], int]:
    """The four images of a mosaic by quarter, and the quarter of the target."""
    draws = randomness.uniforms(randomness.key(seed, "mosaic", mosaic), [0], QUARTERS + 1)[0]
    order = randomness.permutation(randomness.key(seed, "classes of mosaic", mosaic), len(by_class))
    target, quarter = int(draws[0] * len(classes)), int(draws[1] * QUARTERS)
    others = order[order != classes[target]]
    members = [target]
    for place in range(QUARTERS - 1):
        again, which = divmod(place, len(others))  # a class that comes again comes with its next image
        some = by_class[others[which]]
        members.append(int(some[(int(draws[2 + which] * len(some)) + again) % len(some)]))
    members[0], members[quarter] = members[quarter], members[0]
    return members, quarter


def _mosaics(pixels: Shaped[Tensor, "n c s s"], members: Int[Tensor, "m 4"]) -> Shaped[Tensor, "m c s s"]:
    half, device = pixels.shape[-1] // 2, pixels.device
    small = F.interpolate(pixels[members.flatten().to(device)].float(), size=(half, half), mode="area")
    small = small if pixels.is_floating_point() else small.round()
    tiles = small.to(pixels.dtype).view(-1, QUARTERS, *small.shape[1:])
    found = pixels.new_zeros(len(members), *pixels.shape[1:])
    for quarter in range(QUARTERS):
        top, left = quarter // 2 * half, quarter % 2 * half
        found[:, :, top : top + half, left : left + half] = tiles[:, quarter]
    return found.contiguous(memory_format=torch.channels_last)


def _quarters(height: int, width: int) -> Bool[Tensor, "4 h w"]:
    """The pixels of each quarter."""
    found = torch.zeros(QUARTERS, height, width, dtype=torch.bool)
    high, wide = height // 2, width // 2
    for quarter in range(QUARTERS):
        top, left = quarter // 2 * high, quarter % 2 * wide
        found[quarter, top : top + high, left : left + wide] = True
    return found
