"""The numbers themselves, each a function of logits and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.errors import ShapeError

Interval = tuple[float, float]  # its ends; NaN, NaN where there is none

NORMAL_975 = 1.959963984540054  # the standard normal's 97.5 % point
HALVINGS = 50  # of the span in which an end of an interval is sought


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How one class fares, each figure in [0, 1]; NaN where there is nothing to divide by.

    Args:
        images: How many belong to it.
        precision: Of the images predicted as it, the fraction that are.
        precision_interval: Its 95 % Wilson interval.
        recall: Of its images, the fraction predicted as it.
        recall_interval: Its 95 % Wilson interval.
        f1: Their harmonic mean; 0 where one of them is 0.
        roc_auc: How often an image of it has a larger probability of it than one that is not; 0.5 is chance.
        roc_auc_interval: Its 95 % interval, by `roc_auc_interval`.
    """

    images: int
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    f1: float
    roc_auc: float
    roc_auc_interval: Interval


def top_k_accuracy(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"], *, k: int = 5) -> float:
    """Fraction of images whose label is among the k largest logits, in [0, 1]; 1 is best.

    Ties count as the lower class index, so results repeat across devices. Above the number of classes k is cut to it.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.

    Source: Russakovsky et al. 2015, arXiv:1409.0575 (top-5 error is 1 minus this at k=5).
    """
    check_counts(logits, labels)
    ranked = torch.sort(logits, dim=1, descending=True, stable=True).indices[:, :k]
    return float((ranked == labels[:, None]).any(dim=1).double().mean())


def negative_log_likelihood(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> float:
    """Mean of -log softmax(logits)[label], in nats; 0 is best.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    check_counts(logits, labels)
    return float(F.cross_entropy(logits.double(), labels))


def confusion(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> NDArray[np.int64]:
    """Counts (k, k): rows are the labels, columns the predictions.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    check_counts(logits, labels)
    k = logits.shape[1]
    cells = labels * k + predicted(logits)
    return torch.bincount(cells, minlength=k * k).reshape(k, k).numpy()


def predicted(logits: Float[Tensor, "n k"]) -> Int[Tensor, "n"]:
    """The class index of the largest logit; of equal ones the lowest."""
    return logits.argmax(dim=1)  # of equal ones the first, as torch documents


def by_class(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> list[ClassScores]:
    """Precision, recall, F1 and ROC AUC of each class against all others, in the order of the logits; their intervals.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to load

    check_counts(logits, labels)
    true, chances = labels.numpy(), torch.softmax(logits.double(), dim=1).numpy()
    every = np.arange(logits.shape[1])
    said = predicted(logits).numpy()
    precision, recall, f1, counts = precision_recall_fscore_support(true, said, labels=every, zero_division=np.nan)
    times_said, right = (np.bincount(each, minlength=len(every)) for each in (said, said[said == true]))
    found = []
    for place in every:
        area, images = roc_auc(true == place, chances[:, place]), int(counts[place])
        found.append(
            ClassScores(
                images=images,
                precision=float(precision[place]),
                precision_interval=wilson_interval(int(right[place]), int(times_said[place])),
                recall=float(recall[place]),
                recall_interval=wilson_interval(int(right[place]), images),
                f1=float(f1[place]),
                roc_auc=area,
                roc_auc_interval=roc_auc_interval(area, images, len(true) - images),
            )
        )
    return found


def f1_of(
    right: Shaped[NDArray[Any], "*s"], images: Shaped[NDArray[Any], "*s"], said: Shaped[NDArray[Any], "*s"]
) -> Float[NDArray[np.float64], "*s"]:
    """F1 from counts: images of a class that are recognised, its images, those taken for it; NaN where there are none.

    It is 0 where nothing is recognised.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = 2 * right / (images + said)
    return found


def macro_f1(confused: Int[NDArray[np.int64], "k k"]) -> float:
    """The mean F1 over the classes that have images or were taken for an image's, in [0, 1].

    Args:
        confused: What `confusion` gives.
    """
    return float(np.nanmean(f1_of(np.diag(confused), confused.sum(axis=1), confused.sum(axis=0))))


def balanced_accuracy(confused: Int[NDArray[np.int64], "k k"]) -> float:
    """The mean recall over the classes that have images, in [0, 1]: accuracy as if all were equally frequent.

    Args:
        confused: What `confusion` gives.
    """
    images = confused.sum(axis=1)
    some = images > 0
    return float((np.diag(confused)[some] / images[some]).mean())


def most_confused(confused: Int[NDArray[np.int64], "k k"], *, count: int = 10) -> list[tuple[int, int, int]]:
    """The pairs of classes mistaken most often: (class, taken for, images), most first, at most so many."""
    wrong = confused.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [divmod(int(cell), len(wrong)) for cell in order]
    return [(row, column, int(wrong[row, column])) for row, column in pairs if wrong[row, column]]


def hardest(confused: Int[NDArray[np.int64], "k k"], *, count: int = 10) -> list[int]:
    """The classes of which images are missed, lowest recall first, at most so many."""
    images = confused.sum(axis=1)
    recall = np.divide(np.diag(confused), images, out=np.ones(len(confused)), where=images > 0)
    return [int(place) for place in np.argsort(recall, kind="stable")[:count] if recall[place] < 1]


def wilson_interval(correct: int, images: int) -> Interval:
    """The 95 % confidence interval of a fraction, in [0, 1]; NaN, NaN of no images.

    Unlike the normal approximation it stays inside [0, 1] and is honest near both ends.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if images == 0:
        return math.nan, math.nan
    z, p = NORMAL_975, correct / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    low = max(0.0, centre - half) if correct > 0 else 0.0  # at the ends exactly, whatever was rounded
    return low, min(1.0, centre + half) if correct < images else 1.0


def roc_auc(belongs: Bool[NDArray[np.bool_], "n"], chances: Float[NDArray[np.float64], "n"]) -> float:
    """How often what belongs has a larger chance than what does not, in [0, 1], equal ones counting half.

    NaN where all belong, or none.
    """
    from sklearn.metrics import roc_auc_score  # slow to load

    return float(roc_auc_score(belongs, chances)) if 0 < belongs.sum() < len(belongs) else math.nan


def roc_auc_interval(area: float, own: int, others: int) -> Interval:
    """The 95 % interval of an area under the ROC curve: of all true areas those from which this one is likely to come.

    Like Wilson's it takes the variance at the true area, not at the one found, so it is honest near both ends and has
    a width where all pairs are in order. The variance is that of exponentially distributed scores, which is rather too
    large for normal ones.

    Args:
        area: What `roc_auc` gives.
        own: Images that belong to the class.
        others: Images that do not.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC)
    curve"; Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic",
    part 2.
    """
    if math.isnan(area):
        return math.nan, math.nan

    def too_far(true: float) -> bool:
        square = true**2
        by_own, by_others = true / (2 - true) - square, 2 * square / (1 + true) - square
        variance = (true * (1 - true) + (own - 1) * by_own + (others - 1) * by_others) / (own * others)
        return (area - true) ** 2 > NORMAL_975**2 * variance

    ends = []
    for outside in (0.0, 1.0):
        inside = area
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if too_far(middle) else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


def check_counts(logits: Tensor, labels: Tensor) -> None:
    """Refuse logits and labels of different numbers of images, or of none.

    Raises:
        ShapeError: they are so.
    """
    if len(logits) != len(labels) or len(labels) == 0:
        raise ShapeError(f"logits of {len(logits)} images and {len(labels)} labels must be equally many, at least one")
