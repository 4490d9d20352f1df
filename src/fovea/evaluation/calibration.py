"""Whether a model is as sure as it is right: the reliability diagram's numbers, and the temperature that mends them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fovea.evaluation.metrics import check_counts, negative_log_likelihood, predicted

BINS = 15
SPAN = 100.0  # temperatures are sought from 1/SPAN to SPAN


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Images in bins of equal width by their confidence, the largest probability.

    Args:
        edges: Of the bins, from 0 to 1, one more than bins; a bin holds its upper edge, not its lower.
        images: How many fell into each.
        confidence: Their mean confidence; NaN where there are none.
        accuracy: The fraction of them that is right; NaN where there are none.
    """

    edges: NDArray[np.float64]
    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        """The expected calibration error, in [0, 1]: |confidence - accuracy| over bins, by their images; 0 is best.

        Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, equation 3.
        """
        some = self.images > 0
        gaps = np.abs(self.confidence[some] - self.accuracy[some])
        return float((self.images[some] * gaps).sum() / self.images.sum())


def reliability(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"], *, bins: int = BINS) -> Reliability:
    """The reliability diagram's numbers.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    check_counts(logits, labels)
    confidence, places = binned(logits, bins=bins)
    right = (predicted(logits) == labels).numpy()
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(places, weights=each, minlength=bins) / counts for each in (confidence, right)]
    return Reliability(edges=_edges(bins), images=counts, confidence=means[0], accuracy=means[1])


def binned(
    logits: Float[Tensor, "n k"], *, bins: int = BINS
) -> tuple[Float[NDArray[np.float64], "n"], Int[NDArray[np.int64], "n"]]:
    """Of each image the confidence, and the bin that it falls into."""
    confidence = torch.softmax(logits.double(), dim=1).amax(dim=1).numpy()
    return confidence, np.clip(np.searchsorted(_edges(bins), confidence, side="left") - 1, 0, bins - 1)


def brier_score(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> float:
    """Mean over images of the squared distance from the probabilities to the label's 0 and 1, in [0, 2]; 0 is best.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.
    """
    check_counts(logits, labels)
    return float(brier_scores(logits, labels).mean())


def brier_scores(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Of each image the squared distance of which the Brier score is the mean."""
    missed = torch.softmax(logits.double(), dim=1)
    missed[torch.arange(len(labels)), labels] -= 1
    return missed.square().sum(dim=1)


def fitted_temperature(logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"]) -> float:
    """What logits are to be divided by, so that their negative log-likelihood is least; above 1 for too sure a model.

    It is fitted on images that the model was neither trained nor judged on: validation. Predictions stay as they are.
    Where every image is right none is best, smaller is always better, and 1 is given. Sought between 0.01 and 100.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.

    Source: Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar  # slow to load

    check_counts(logits, labels)
    if bool((predicted(logits) == labels).all()):
        return 1.0
    exact, span = logits.double(), float(np.log(SPAN))
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(exact / float(np.exp(log_t)), labels),
        bounds=(-span, span),  # over the logarithm the loss has one valley
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def _edges(bins: int) -> NDArray[np.float64]:
    return np.linspace(0, 1, bins + 1)
