"""Several models as one: their probabilities averaged, weighed or chosen, from logits that are computed already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.errors import DataError, NumbersError, ShapeError, require
from fovea.evaluation.metrics import check_counts
from fovea.evaluation.statistics import LIKELY, Comparison, compare

TOLERANCE = (
    1e-9  # nats: how far from the least negative log-likelihood fitted weights may be, and what counts as better
)
STEPS = 20_000  # of fitting, at most; some tens are usual
LEAST = 1e-15  # a weight while fitting: one that reached 0 could never grow again
DUST = 1e-12  # what a weight is taken for 0 below, at the end: one that a single image needs is at least 1 / images
NAMED = 5  # class names that a message lists
MOST_PICKS = 50


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What one member adds to the ensemble of equal weights.

    Args:
        member: Its place among the members, from 0.
        top1: The fraction it has right alone, in [0, 1].
        top1_with: That of the ensemble of all members.
        top1_without: That of the ensemble of all others; None of a single member, without which there is no ensemble.
        comparison: The ensemble without it against the one with it, on the same images: a positive difference says
            that it helps. None of a single member.
    """

    member: int
    top1: float
    top1_with: float
    top1_without: float | None
    comparison: Comparison | None

    def sentence(self, name: str) -> str:
        """What follows, in words, of a member so named."""
        if self.comparison is None:
            return f"{name} is the only member ({self.top1:.2%}), so the ensemble is {name} itself"
        low, high = self.comparison.interval
        told = "" if self.comparison.p_value <= LIKELY else ", which may be chance"
        return (
            f"{name} alone {self.top1:.2%}, adds {self.comparison.difference:+.2%} to the others "
            f"(95 % interval {low:+.2%} to {high:+.2%}; McNemar's p {self.comparison.p_value:.2g}{told})"
        )


def aligned(logits: Float[Tensor, "n k"], classes: tuple[str, ...], to: tuple[str, ...]) -> Float[Tensor, "n k"]:
    """Logits whose columns stand in another order of the same classes, matched by name.

    Args:
        logits: With a column for each of `classes`.
        classes: Class names, in the order of the logits.
        to: The same names in the order wanted.

    Raises:
        ShapeError: there are not as many columns as classes.
        DataError: one of the two lacks a class of the other, or has one twice.
    """
    if logits.shape[1] != len(classes):
        raise ShapeError(f"logits of {logits.shape[1]:,} columns need as many class names, not {len(classes):,}")
    for names in (classes, to):
        if len(set(names)) != len(names):
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise DataError(
                f"the class {twice!r} stands twice among the names; classes are matched by name, so keep one"
            )
    places = {name: place for place, name in enumerate(classes)}
    missing = [name for name in to if name not in places]
    surplus = sorted(places.keys() - set(to), key=places.__getitem__)
    if missing or surplus:
        said = [
            f"{len(names):,} {what} ({_few(names)})" for names, what in ((missing, "missing"), (surplus, "surplus"))
        ]
        found = " and ".join(part for part, names in zip(said, (missing, surplus), strict=True) if names)
        raise DataError(f"models that are averaged must know the same classes; here {found}: leave this model out")
    return logits[:, [places[name] for name in to]]


def averaged(
    members: Sequence[Float[Tensor, "n k"]],
    weights: Sequence[float] | Float[NDArray[np.float64], "m"] | None = None,
) -> Float[Tensor, "n k"]:
    """The logarithm of the members' mean probabilities: logits, in float64, whose softmax is that mean.

    Args:
        members: Logits of each model for the same images, the classes in the same order (see `aligned`).
        weights: 0 or more for each member, of any sum; None weighs all alike.

    Raises:
        UsageError: there are no members, or a weight is negative or no number, or all are 0.
        ShapeError: the members differ in images or classes, or there are not as many weights as members.

    Source: Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", section 5;
    Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles",
    arXiv:1612.01474.
    """
    _check_members(members)
    shares = _shares(weights, len(members))
    total: Tensor | None = None
    for member, share in zip(members, shares, strict=True):
        if share > 0:  # a member of weight 0 is left out, even if its logits are NaN
            # Added up as logarithms: a small probability would become 0, and the logit minus infinity.
            term = torch.log_softmax(member.double(), dim=1) + float(np.log(share))
            total = term if total is None else torch.logaddexp(total, term)
    assert total is not None  # the weights sum to 1
    return total


def fitted_weights(
    members: Sequence[Float[Tensor, "n k"]], labels: Int[Tensor, "n2"]
) -> Float[NDArray[np.float64], "m"]:
    """The weights with which the averaged probabilities have the least negative log-likelihood.

    Each is 0 or more and they sum to 1. They are fitted on images that the members were neither trained nor judged
    on: validation. The problem has one valley; expectation maximisation descends it from equal weights, with steps
    that lengthen while they help, until the loss is proved to be within 1e-9 nats of the least (or for 20,000 steps,
    which only members that hardly differ need). Of members that are the same each has the same weight.

    Raises:
        UsageError: there are no members.
        ShapeError: the members differ in images or classes, the labels do not fit them, or there are no images.
        NumbersError: a member's logits hold NaN or infinity.

    Source: Dempster et al. 1977, "Maximum likelihood from incomplete data via the EM algorithm"; Salakhutdinov and
    Roweis 2003, "Adaptive overrelaxed bound optimization methods".
    """
    _check_judged(members, labels)
    rows = torch.arange(len(labels))
    logs = np.stack([torch.log_softmax(member.double(), dim=1)[rows, labels].numpy() for member in members], axis=1)
    likelihoods = np.exp(logs - logs.max(axis=1, keepdims=True))  # of each image only the ratios matter
    weights, power = np.full(len(members), 1 / len(members)), 1.0
    mixed = likelihoods @ weights
    for _ in range(STEPS):
        gains = (likelihoods / mixed[:, None]).mean(axis=0)  # the slope; a plain step multiplies the weights by it
        if gains.max() - 1 <= TOLERANCE:  # by convexity the loss is no further than this from its least
            break
        weights, mixed, power = _stepped(likelihoods, weights, mixed, gains, power)
    weights = np.where(weights < DUST, 0.0, weights)
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def greedy(
    members: Sequence[Float[Tensor, "n k"]], labels: Int[Tensor, "n2"], *, size: int = MOST_PICKS
) -> tuple[int, ...]:
    """Which members to average, picked one after another, each the one that helps most; some perhaps repeatedly.

    Better is the higher accuracy, and of equal ones the lower negative log-likelihood; of equals the first. It ends
    when no pick makes the ensemble better. Like weights, the picks are fitted on validation.

    Args:
        members: Logits of each model for the same images.
        labels: Of these images.
        size: Picks, at most. A member's weight is how often it was picked.

    Returns:
        Places among the members, from 0, in the order of the picks; average these, with their repetitions.

    Raises:
        UsageError: there are no members, or size is below 1.
        ShapeError: the members differ in images or classes, the labels do not fit them, or there are no images.
        NumbersError: a member's logits hold NaN or infinity.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models", section 2.
    """
    require("size", size, size >= 1, "1 or more")
    _check_judged(members, labels)
    chances = [torch.softmax(member.double(), dim=1) for member in members]
    picks: list[int] = []
    total, best = torch.zeros_like(chances[0]), (-1, 0.0)
    while len(picks) < size:
        found = [_standing(total + each, len(picks) + 1, labels) for each in chances]
        pick = max(range(len(members)), key=lambda place: found[place])
        right, likelihood = found[pick]
        if right < best[0] or (right == best[0] and likelihood <= best[1] + TOLERANCE):
            break
        picks.append(pick)
        total, best = total + chances[pick], found[pick]
    return tuple(picks)


def contributions(members: Sequence[Float[Tensor, "n k"]], labels: Int[Tensor, "n2"]) -> list[Contribution]:
    """What each member adds to the ensemble of equal weights, by leaving it out; in the order of the members.

    A single member has nothing to be left out of: its contribution says None there.

    Raises:
        UsageError: there are no members.
        ShapeError: the members differ in images or classes, the labels do not fit them, or there are no images.
        NumbersError: a member's logits hold NaN or infinity.
    """
    _check_judged(members, labels)
    chances = [torch.softmax(member.double(), dim=1) for member in members]
    whole = _right(_sum(chances), labels)
    found = []
    for place, member in enumerate(members):
        rest = chances[:place] + chances[place + 1 :]
        without = _right(_sum(rest), labels) if rest else None
        found.append(
            Contribution(
                member=place,
                top1=float(_right(member, labels).mean()),
                top1_with=float(whole.mean()),
                top1_without=None if without is None else float(without.mean()),
                comparison=None if without is None else compare(without, whole),
            )
        )
    return found


def _check_members(members: Sequence[Tensor]) -> None:
    require("members", len(members), len(members) > 0, "1 or more")
    first = members[0].shape
    for place, member in enumerate(members):
        if member.shape != first:
            raise ShapeError(
                f"member {place} has logits of {len(member):,} images and {member.shape[1]:,} classes, member 0 of "
                f"{first[0]:,} and {first[1]:,}; judge all members on the same images and classes"
            )


def _check_judged(members: Sequence[Tensor], labels: Tensor) -> None:
    _check_members(members)
    check_counts(members[0], labels)
    if int(labels.min()) < 0 or int(labels.max()) >= members[0].shape[1]:
        raise ShapeError(
            f"labels from {int(labels.min())} to {int(labels.max())} must be indices of the members' "
            f"{members[0].shape[1]:,} classes, from 0"
        )
    for place, member in enumerate(members):
        finite = torch.isfinite(member).all(dim=1)
        if not finite.all():
            image = int((~finite).nonzero()[0])
            raise NumbersError(f"member {place} has logits that are no finite numbers (image {image}); leave it out")


def _shares(weights: Sequence[float] | NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (count,):
        raise ShapeError(f"{count} members need as many weights, not {given.size}")
    holds = bool(np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0)
    require("weights", given.tolist(), holds, "0 or more each, and not all 0")
    shares: NDArray[np.float64] = given / given.sum()
    return shares


def _stepped(
    likelihoods: NDArray[np.float64],
    weights: NDArray[np.float64],
    mixed: NDArray[np.float64],
    gains: NDArray[np.float64],
    power: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The next weights, their mixture and the next power: by a long step where that is better, else a plain one."""
    for tried in (power, 1.0):
        logs = np.log(weights) + tried * np.log(np.maximum(gains, LEAST))
        raised = np.maximum(np.exp(logs - logs.max()), LEAST)
        stepped = raised / raised.sum()
        blend = likelihoods @ stepped
        if np.log(blend / mixed).mean() > 0:
            return stepped, blend, 1.5 * tried
    return stepped, blend, 1.0  # the plain step never does worse, but for rounding


def _standing(total: Tensor, count: int, labels: Tensor) -> tuple[int, float]:
    """Images right and mean log-likelihood of the sum of so many members' probabilities; of both more is better."""
    chance = total[torch.arange(len(labels)), labels] / count
    return int(_right(total, labels).sum()), float(chance.clamp_min(torch.finfo(chance.dtype).tiny).log().mean())


def _right(scores: Tensor, labels: Tensor) -> Bool[NDArray[np.bool_], "n"]:
    found: NDArray[np.bool_] = (scores.argmax(dim=1) == labels).numpy()  # of equal scores the lowest class
    return found


def _sum(chances: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(chances)).sum(dim=0)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
