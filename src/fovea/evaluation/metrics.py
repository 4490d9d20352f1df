"""The numbers themselves, each a function of logits and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.errors import ShapeError

NORMAL_975 = 1.959963984540054  # the standard normal's 97.5 % point


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How one class fares, each figure in [0, 1]; NaN where there is nothing to divide by.

    Args:
        images: How many belong to it.
        precision: Of the images predicted as it, the fraction that are.
        recall: Of its images, the fraction predicted as it.
        f1: Their harmonic mean; 0 where one of them is 0.
        roc_auc: How often an image of it has a larger probability of it than one that is not; 0.5 is chance.
    """

    images: int
    precision: float
    recall: float
    f1: float
    roc_auc: float


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
    return torch.sort(logits, dim=1, descending=True, stable=True).indices[:, 0]


def by_class(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> list[ClassScores]:
    """Precision, recall, F1 and ROC AUC of each class against all others, in the order of the logits.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to load

    check_counts(logits, labels)
    true, chances = labels.numpy(), torch.softmax(logits.double(), dim=1).numpy()
    every = np.arange(logits.shape[1])
    figures = precision_recall_fscore_support(true, predicted(logits).numpy(), labels=every, zero_division=np.nan)
    precision, recall, f1, counts = figures
    return [
        ClassScores(
            images=int(counts[place]),
            precision=float(precision[place]),
            recall=float(recall[place]),
            f1=float(f1[place]),
            roc_auc=_roc_auc(true == place, chances[:, place]),
        )
        for place in every
    ]


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


def wilson_interval(correct: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction, in [0, 1].

    Unlike the normal approximation it stays inside [0, 1] and is honest near both ends.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z, p = NORMAL_975, correct / images
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    low = max(0.0, centre - half) if correct > 0 else 0.0  # at the ends exactly, whatever was rounded
    return low, min(1.0, centre + half) if correct < images else 1.0


def check_counts(logits: Tensor, labels: Tensor) -> None:
    """Refuse logits and labels of different numbers of images, or of none.

    Raises:
        ShapeError: they are so.
    """
    if len(logits) != len(labels) or len(labels) == 0:
        raise ShapeError(f"logits of {len(logits)} images and {len(labels)} labels must be equally many, at least one")


def _roc_auc(belongs: NDArray[np.bool_], chances: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(belongs, chances)) if 0 < belongs.sum() < len(belongs) else math.nan
