"""Intervals of the figures that are no plain fractions: all from the same bootstrap samples of the images.

Each of these figures is a function of sums over images: of how many are of a class, taken for it and recognised, of
what each adds to a mean, of how far confidence and being right lie apart in a bin. So a sample need not be judged
anew: its sums are those of every image's parts, as often as the image was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fovea.evaluation import calibration, metrics
from fovea.evaluation.metrics import Interval
from fovea.evaluation.statistics import LEVEL, RESAMPLES, percentiles, samples

AT_ONCE = 2**20  # logits whose probabilities are held at a time
HALVINGS = 40  # of the span in which an end of an interval is sought

Values = Float[NDArray[np.float64], "n"]
Classes = Int[NDArray[np.int64], "n"]


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """95 % intervals; NaN, NaN where there is none, as of a single image.

    Args:
        resamples: Bootstrap samples from which they come.
        seed: What these were drawn from.
        balanced_accuracy: Mean recall over the classes that have images in the sample.
        macro_f1: Mean F1 over the classes that have images in the sample or were taken for an image's.
        negative_log_likelihood: In nats.
        brier_score: In [0, 2].
        expected_calibration_error: In [0, 1], by `calibration_interval`.
        f1: Of each class, in the order of the logits; of one without images there is none.
    """

    resamples: int
    seed: int
    balanced_accuracy: Interval
    macro_f1: Interval
    negative_log_likelihood: Interval
    brier_score: Interval
    expected_calibration_error: Interval
    f1: list[Interval]


def bootstrap_intervals(
    logits: Float[Tensor, "n k"], labels: Int[Tensor, "n2"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Intervals:
    """The intervals, by resampling images; the same seed gives the same bits, and the samples of `bootstrap_interval`.

    All but the calibration error's go from the 2.5 to the 97.5 percentile of what the samples give. Samples in which a
    figure is not defined, such as the F1 of a class that did not come, are left out. Where no image is wrong the shares
    have no spread, and their intervals no width.

    Args:
        logits: Of the images judged.
        labels: Of the same.
        resamples: Bootstrap samples.
        seed: What they are drawn from.

    Raises:
        ShapeError: logits and labels disagree on n, or n is 0.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    metrics.check_counts(logits, labels)
    n, k = logits.shape
    bins = calibration.BINS
    parts = _Parts.of(logits, labels)
    sums = parts.resampled(
        k, resamples if n > 1 else 0, seed
    )  # of one image every sample is the same, and says nothing
    true, said, right, gaps, means = np.split(sums, [k, 2 * k, 3 * k, 3 * k + bins], axis=1)
    f1 = metrics.f1_of(right, true, said)
    with np.errstate(invalid="ignore"):
        recall = right / true
    each_f1 = np.where(np.bincount(parts.labels, minlength=k) > 0, f1, math.nan)
    observed = np.bincount(parts.bins, weights=parts.gaps, minlength=bins)
    return Intervals(
        resamples=resamples,
        seed=seed,
        balanced_accuracy=percentiles(np.nanmean(recall, axis=1)),
        macro_f1=percentiles(np.nanmean(f1, axis=1)),
        negative_log_likelihood=percentiles(means[:, 0] / n),
        brier_score=percentiles(means[:, 1] / n),
        expected_calibration_error=calibration_interval(observed / n, gaps / n),
        f1=[percentiles(column) for column in each_f1.T],
    )


def calibration_interval(
    gaps: Float[NDArray[np.float64], "b"], resampled: Float[NDArray[np.float64], "s b"]
) -> Interval:
    """The interval of the expected calibration error, the sum of the gaps' sizes, in [0, 1].

    The error is a sum of sizes, which chance makes larger and hardly ever smaller: with few images of a perfectly
    calibrated model it is far from 0, and in samples of these larger still, so that their percentiles would seldom hold
    the true one. Instead the true gaps are taken to be some multiple of those found, scattered by chance as the
    samples' gaps are around theirs. The interval holds the errors of all multiples under which an error as small as
    the one found, and one as large, both come in more than 2.5 % of cases; and the one found itself.

    Args:
        gaps: For each bin the sum over its images of confidence less being right, by the number of all images.
        resampled: The same of each bootstrap sample; without any the interval is NaN, NaN.

    Source: Neyman 1937, "Outline of a theory of statistical estimation based on the classical theory of probability",
    for intervals from tests; Kumar, Liang and Ma 2019, "Verified uncertainty calibration", arXiv:1909.10155, for the
    error's bias. The multiples are ours.
    """
    if len(resampled) == 0:
        return math.nan, math.nan
    found, chance, tail = float(np.abs(gaps).sum()), resampled - gaps, (1 - LEVEL) / 2
    most = float(np.abs(chance).sum(axis=1).max())
    if found == 0:
        return 0.0, min(1.0, most)

    def share(multiple: float, *, so_large: bool) -> float:
        """Of the samples, scattered around such a multiple, those with an error at least, or at most, the one found."""
        errors = np.abs(multiple * gaps + chance).sum(axis=1)
        return float(((errors >= found) if so_large else (errors <= found)).mean())

    low = _last(lambda multiple: share(multiple, so_large=True) <= tail, 1.0)
    # Of a multiple above 1 + most / found every sample's error is above the one found.
    high = _last(lambda multiple: share(multiple, so_large=False) > tail, 1 + most / found)
    return low * found, min(1.0, max(1.0, high) * found)


def _last(holds: Callable[[float], bool], end: float) -> float:
    """Up to where it holds, from 0 on; 0 where it never does, the end where it always does."""
    start = 0.0
    for _ in range(HALVINGS):
        middle = (start + end) / 2
        start, end = (middle, end) if holds(middle) else (start, middle)
    return start


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What each image adds to the sums."""

    labels: Classes
    said: Classes
    bins: Classes
    gaps: Values
    surprises: Values
    distances: Values

    @classmethod
    def of(cls, logits: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> _Parts:
        """From logits, some rows at a time, as probabilities in float64 are large."""
        n, rows = len(labels), max(1, AT_ONCE // logits.shape[1])
        said, bins = np.empty(n, np.int64), np.empty(n, np.int64)
        gaps, surprises, distances = np.empty(n), np.empty(n), np.empty(n)
        for start in range(0, n, rows):
            here = slice(start, start + rows)
            part, own = logits[here], labels[here]
            confidence, bins[here] = calibration.binned(part)
            said[here] = metrics.predicted(part).numpy()
            gaps[here] = confidence - (said[here] == own.numpy())
            surprises[here] = F.cross_entropy(part.double(), own, reduction="none").numpy()
            distances[here] = calibration.brier_scores(part, own).numpy()
        return cls(labels=labels.numpy(), said=said, bins=bins, gaps=gaps, surprises=surprises, distances=distances)

    def resampled(self, k: int, resamples: int, seed: int) -> Float[NDArray[np.float64], "s m"]:
        """A row for each sample: its images of each class, those taken for each, those recognised, gaps, two means."""
        from scipy.sparse import csr_array  # slow to load

        n = len(self.labels)
        every, ones = np.arange(n), np.ones(n)
        recognised = every[self.said == self.labels]
        rows, columns, values = (
            np.concatenate(each)
            for each in zip(
                (self.labels, every, ones),
                (k + self.said, every, ones),
                (2 * k + self.labels[recognised], recognised, ones[recognised]),
                (3 * k + self.bins, every, self.gaps),
                (np.full(n, 3 * k + calibration.BINS), every, self.surprises),
                (np.full(n, 3 * k + calibration.BINS + 1), every, self.distances),
                strict=True,
            )
        )
        table = csr_array((values, (rows, columns)), shape=(3 * k + calibration.BINS + 2, n))
        sums = np.empty((resamples, table.shape[0]))
        for place, drawn in enumerate(samples(n, resamples=resamples, seed=seed)):
            sums[place] = table @ np.bincount(drawn, minlength=n).astype(np.float64)
        return sums
