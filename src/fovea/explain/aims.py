"""What is explained: for each image one number of the network, the logit of a class or the activation of a unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fovea.errors import ModelError, ShapeError, UsageError, suggestion
from fovea.explain.places import Place, watched

Score = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n"]]  # from images to a number for each, differentiable


class Unit(NamedTuple):
    """One channel of a place; its activation is the largest over all positions.

    Args:
        place: Where.
        channel: Which.
    """

    place: Place
    channel: int

    def __str__(self) -> str:
        return f"{self.place.name}:{self.channel}"


def unit_of(place: Place, channel: int) -> Unit:
    """The unit.

    Raises:
        UsageError: the place has fewer channels.
    """
    if not 0 <= channel < place.shape[0]:
        raise UsageError(f"unit (={channel}) of {place.name} must be 0 to {place.shape[0] - 1}, its channels")
    return Unit(place, channel)


def logits_of(network: nn.Module, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """The network's logits of a copy of the images, which nothing can then change in place.

    Raises:
        ModelError: the network gives something else than one row of logits for each image.
    """
    logits = network(images.clone())
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
        told = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(
            f"{type(network).__name__} gives {told}, not a row of logits for each of {len(images)} images; wrap it in "
            "a module that does"
        )
    return logits


def class_score(network: nn.Module, targets: Int[Tensor, "n"]) -> Score:
    """The logit of each image's target class."""

    def score(images: Tensor) -> Tensor:
        logits = logits_of(network, images)
        return logits.gather(1, targets.to(logits.device)[:, None])[:, 0]

    return score


def unit_score(network: nn.Module, unit: Unit) -> Score:
    """The largest activation of a unit."""

    def score(images: Tensor) -> Tensor:
        with watched(unit.place) as seen:
            network(images.clone())
        return seen()[:, unit.channel].reshape(len(images), -1).amax(1)

    return score


def targets_of(
    target: str | int | Sequence[str | int] | None, logits: Float[Tensor, "n k"], classes: Sequence[str]
) -> Int[Tensor, "n"]:
    """The class explained of each image, as indices.

    Args:
        target: A class by name or index, for all images or one for each; None means the one predicted.
        logits: Of the images.
        classes: Names in the order of the logits.

    Raises:
        UsageError: no such class, or another number of classes than images.
    """
    if target is None:
        return logits.argmax(1).cpu()
    if isinstance(target, str | int):
        return torch.full((len(logits),), _index(target, classes))
    if len(target) != len(logits):
        raise UsageError(f"target names {len(target)} classes for {len(logits)} images; name one, or one for each")
    return torch.tensor([_index(each, classes) for each in target])


def check_images(images: Tensor) -> None:
    """Refuse what is no batch of images.

    Raises:
        ShapeError: not four dimensions, or one of them 0.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ShapeError(f"images (shape {tuple(images.shape)}) must be (n, c, h, w), none of them 0")


def _index(target: str | int, classes: Sequence[str]) -> int:
    if isinstance(target, str) and target in classes:
        return list(classes).index(target)
    if isinstance(target, str) and not target.isdecimal():
        raise UsageError(
            f"target (={target}) is no class of this model; it has {len(classes)}, such as "
            f"{', '.join(classes[:3])}.{suggestion(target, classes)}"
        )
    if not 0 <= int(target) < len(classes):
        raise UsageError(f"target (={target}) must be 0 to {len(classes) - 1}, or the name of a class")
    return int(target)
