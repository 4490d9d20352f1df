"""Intervals and paired tests, against closed forms and tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

from fovea.errors import ShapeError, UsageError
from fovea.evaluation.statistics import bootstrap_interval, compare


def answers(both, first_only, second_only, neither):
    first = np.repeat([True, True, False, False], [both, first_only, second_only, neither])
    second = np.repeat([True, False, True, False], [both, first_only, second_only, neither])
    return first, second


def test_mcnemar_is_the_binomial_sum():
    found = compare(*answers(70, 3, 12, 15))
    assert (found.first_only, found.second_only, found.images) == (3, 12, 100)
    assert found.difference == pytest.approx(0.09)
    assert found.p_value == pytest.approx(2 * binom.cdf(3, 15, 0.5))


def test_the_paired_interval_is_the_normal_one_of_many_images():
    found = compare(*answers(7000, 400, 600, 2000))
    share, spread = 0.02, np.sqrt((0.1 - 0.02**2) / 10_000)
    expected = share + norm.ppf([0.025, 0.975]) * spread
    assert found.interval == pytest.approx(tuple(expected), abs=2e-4)


def test_pairing_is_what_makes_it_narrow():
    found = compare(*answers(5000, 10, 30, 4960))
    low, high = found.interval
    assert high - low < 0.004  # two independent models of 50 % and 10,000 images: 0.028


def test_models_that_agree_everywhere():
    found = compare(*answers(10, 0, 0, 5))
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert "cannot be told apart" in found.sentence("a", "b")


def test_the_sentence_says_which_is_better():
    better = compare(*answers(70, 2, 20, 8))
    assert better.sentence("a", "b").startswith("b is more accurate than a: difference +18.00%")
    worse = compare(*answers(70, 20, 2, 8))
    assert worse.sentence("a", "b").startswith("b is less accurate than a")
    assert (worse.difference, worse.p_value) == (-better.difference, better.p_value)


def test_the_same_seed_gives_the_same_interval():
    pair = answers(700, 40, 60, 200)
    assert compare(*pair) == compare(*pair)
    few = {"resamples": 50}
    assert len({compare(*pair, seed=seed, **few).interval for seed in range(5)}) > 1


def test_different_images_cannot_be_compared():
    with pytest.raises(ShapeError, match="same images"):
        compare(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ShapeError, match="at least one"):
        compare(np.ones(0, bool), np.ones(0, bool))


def test_the_bootstrap_of_a_mean_is_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, 4000)
    found = bootstrap_interval(lambda chosen: float(values[chosen].mean()), len(values))
    expected = values.mean() + norm.ppf([0.025, 0.975]) * values.std() / np.sqrt(len(values))
    assert found == pytest.approx(tuple(expected), abs=6e-3)


def test_samples_without_a_figure_are_left_out():
    labels = np.array([0, 0, 0, 1])  # a sample without class 1 has no recall of it
    found = bootstrap_interval(
        lambda chosen: float("nan") if not labels[chosen].any() else 1.0, len(labels), resamples=200
    )
    assert found == (1.0, 1.0)


def test_no_images_no_interval():
    with pytest.raises(UsageError, match="images"):
        bootstrap_interval(lambda _: 0.0, 0)


@pytest.mark.parametrize(
    ("first_only", "second_only", "smallest"),
    [(0, 5, None), (0, 6, 0.06), (3, 3, 0.06), (4, 4, 0.08), (10, 10, 0.10), (0, 0, None)],
)
def test_the_smallest_difference_that_would_have_counted(
    first_only: int, second_only: int, smallest: float | None
) -> None:
    right = np.ones(100, bool)
    first, second = right.copy(), right.copy()
    second[:first_only], first[first_only : first_only + second_only] = False, False
    found = compare(first, second)
    assert (found.first_only, found.second_only) == (first_only, second_only)
    assert found.smallest == (None if smallest is None else pytest.approx(smallest))
