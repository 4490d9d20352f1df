"""How sure a figure is: intervals by resampling, and two models judged on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from fovea import randomness
from fovea.errors import ShapeError, require

RESAMPLES = 2_000
LEVEL = 0.95
LIKELY = 0.05  # of McNemar's p, above which a difference is put down to chance


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same images.

    Args:
        images: How many were judged.
        first_only: Images that the first model alone has right.
        second_only: Images that the second alone has right.
        difference: Accuracy of the second minus that of the first, in [-1, 1].
        interval: Its 95 % interval, by paired bootstrap.
        p_value: McNemar's, exact: how often models of equal accuracy would differ at least so much.
    """

    images: int
    first_only: int
    second_only: int
    difference: float
    interval: tuple[float, float]
    p_value: float

    @property
    def smallest(self) -> float | None:
        """The smallest difference that would have counted, of as many images as they disagree on, in (0, 1].

        None where they disagree on so few that none would have: McNemar's test needs six, all on one side.
        """
        from scipy.stats import binomtest  # slow to load

        disagreed = self.first_only + self.second_only
        for more in range(disagreed // 2 + 1, disagreed + 1):
            if binomtest(more, disagreed).pvalue <= LIKELY:
                return (2 * more - disagreed) / self.images
        return None

    def sentence(self, first: str, second: str) -> str:
        """What follows, in words, of models so named."""
        low, high = self.interval
        figures = (
            f"difference {self.difference:+.2%} (95 % interval {low:+.2%} to {high:+.2%}), McNemar's p "
            f"{self.p_value:.2g}; {self.second_only:,} images only {second} has right, {self.first_only:,} only {first}"
        )
        if self.p_value > LIKELY:
            return f"{second} and {first} cannot be told apart on these {self.images:,} images: {figures}"
        verb = "more" if self.difference > 0 else "less"
        return f"{second} is {verb} accurate than {first}: {figures}"


def compare(
    first: Bool[NDArray[np.bool_], "n"],
    second: Bool[NDArray[np.bool_], "n2"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two models by which images each has right.

    Only the images on which they disagree say anything. McNemar's test asks whether these fall evenly, and is computed
    exactly, from the binomial distribution. The bootstrap draws images with replacement, both models' answers together.

    Args:
        first: Whether the first model has each image right.
        second: The same of the second model, for the same images.
        resamples: Bootstrap samples.
        seed: What they are drawn from.

    Raises:
        ShapeError: the models were not judged on equally many images, or on none.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions"; Dietterich
    1998, "Approximate statistical tests for comparing supervised classification learning algorithms"; Efron and
    Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    from scipy.stats import binomtest  # slow to load

    if len(first) != len(second) or len(first) == 0:
        raise ShapeError(
            f"two models are compared on the same images, at least one; these saw {len(first):,} and {len(second):,}"
        )
    n = len(first)
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    disagreed = first_only + second_only
    # Of a resampled image only three things can come: to draw how often each does is to draw the images.
    chances = [first_only / n, second_only / n, (n - disagreed) / n]
    drawn = _generator(seed, "comparison").multinomial(n, chances, size=resamples)
    return Comparison(
        images=n,
        first_only=first_only,
        second_only=second_only,
        difference=(second_only - first_only) / n,
        interval=percentiles((drawn[:, 1] - drawn[:, 0]) / n),
        p_value=float(binomtest(second_only, disagreed).pvalue) if disagreed else 1.0,
    )


def bootstrap_interval(
    measure: Callable[[NDArray[np.int64]], float], images: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of any figure, from the 2.5 to the 97.5 percentile of what resampled images give.

    Args:
        measure: From indices of images, some of them repeated, to the figure; samples for which it is NaN are left out.
            Where it is NaN for every sample, so are both ends.
        images: How many there are.
        resamples: Samples drawn.
        seed: What they are drawn from.

    Raises:
        UsageError: there are no images.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    require("images", images, images > 0, "1 or more")
    return percentiles(np.asarray([measure(drawn) for drawn in samples(images, resamples=resamples, seed=seed)]))


def samples(images: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Int[NDArray[np.int64], "n"]]:
    """The bootstrap's samples: each so many indices of images as there are images, drawn with replacement."""
    random = _generator(seed, "bootstrap")
    for _ in range(resamples):
        yield random.integers(images, size=images)


def percentiles(found: Float[NDArray[np.float64], "_"]) -> tuple[float, float]:
    """From the 2.5 to the 97.5 percentile of what samples gave; NaN is left out, and given where nothing else came."""
    if np.isnan(found).all():
        return math.nan, math.nan
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _generator(seed: int, purpose: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(randomness.key(seed, purpose)))
