"""Intervals: against slow ones by scikit-learn on the same samples, and against the truth by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from fovea.errors import ShapeError
from fovea.evaluation import intervals
from fovea.evaluation.calibration import reliability
from fovea.evaluation.intervals import bootstrap_intervals, calibration_interval
from fovea.evaluation.metrics import by_class, confusion, macro_f1, roc_auc, roc_auc_interval, wilson_interval
from fovea.evaluation.statistics import bootstrap_interval

NONE = (math.nan, math.nan)


def drawn(n, k, seed, *, help_=2.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    logits = random.normal(size=(n, k))
    logits[np.arange(n), labels] += help_
    return torch.from_numpy(logits), torch.from_numpy(labels)


def honest(n, random, sharpness=2.0):
    """Labels drawn from the softmax of these very logits, of four classes."""
    logits = torch.from_numpy(random.normal(size=(n, 4)) * sharpness)
    chances = torch.softmax(logits, 1).numpy()
    return logits, torch.from_numpy((chances.cumsum(1) < random.random((n, 1))).sum(1).clip(max=3))


# Class 3 has few images, so that some samples have none of it.
@pytest.fixture(scope="module")
def judged():
    logits, labels = drawn(120, 4, 0)
    labels[(labels == 3) & (torch.arange(120) > 12)] = 0
    return logits, labels


@pytest.fixture(scope="module")
def found(judged):
    return bootstrap_intervals(*judged, resamples=150, seed=3)


def slow(judged, measure):
    logits, labels = judged
    guessed, chances = logits.argmax(1).numpy(), torch.softmax(logits, 1).numpy()
    true = labels.numpy()
    return bootstrap_interval(
        lambda chosen: float(measure(true[chosen], guessed[chosen], chances[chosen])), len(true), resamples=150, seed=3
    )


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize(
    ("figure", "measure"),
    [
        ("balanced_accuracy", lambda true, guessed, _: balanced_accuracy_score(true, guessed)),
        ("macro_f1", lambda true, guessed, _: f1_score(true, guessed, average="macro")),
        ("negative_log_likelihood", lambda true, _, chances: log_loss(true, chances, labels=np.arange(4))),
        ("brier_score", lambda true, _, chances: ((chances - np.eye(4)[true]) ** 2).sum(1).mean()),
    ],
)
def test_the_fast_sums_are_scikit_learns_figures_of_the_same_samples(figure, measure, judged, found):
    assert getattr(found, figure) == pytest.approx(slow(judged, measure), abs=1e-12)


@pytest.mark.parametrize("place", range(4))
def test_f1_of_a_class_is_scikit_learns_of_the_same_samples(place, judged, found):
    expected = slow(
        judged,
        lambda true, guessed, _: f1_score(true, guessed, labels=[place], average=None, zero_division=np.nan)[0],
    )
    assert found.f1[place] == pytest.approx(expected, abs=1e-12)


def test_some_sample_lacked_the_rare_class(judged):
    rare = judged[1].numpy() == 3
    assert rare.any()
    assert bootstrap_interval(lambda chosen: float(rare[chosen].any()), len(rare), resamples=150, seed=3)[0] == 0


def test_images_read_some_at_a_time_give_the_same_bits(judged, found, monkeypatch):
    monkeypatch.setattr(intervals, "AT_ONCE", 28)
    assert bootstrap_intervals(*judged, resamples=150, seed=3) == found


def test_the_seed_decides_and_nothing_else(judged, found):
    assert bootstrap_intervals(*judged, resamples=150, seed=3) == found
    other = bootstrap_intervals(*judged, resamples=150, seed=4)
    assert other.balanced_accuracy != found.balanced_accuracy
    assert other.expected_calibration_error != found.expected_calibration_error


def test_the_interval_of_a_mean_is_the_normal_one():
    logits, labels = drawn(3000, 5, 1)
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
    expected = each.mean() + norm.ppf([0.025, 0.975]) * each.std() / np.sqrt(len(each))
    low, high = bootstrap_intervals(logits, labels).negative_log_likelihood
    assert (low, high) == pytest.approx(tuple(expected), abs=0.1 * (high - low))


def test_nineteen_of_twenty_intervals_of_balanced_accuracy_hold_the_true_one():
    # Of class 0 nine of ten are recognised, of class 1, which is rarer, three of five: 0.75 is the truth.
    random, held, trials = np.random.default_rng(2), 0, 200
    for _ in range(trials):
        labels = (random.random(300) < 0.3).astype(np.int64)
        right = random.random(300) < np.where(labels == 0, 0.9, 0.6)
        logits = torch.eye(2)[np.where(right, labels, 1 - labels)]
        low, high = bootstrap_intervals(logits, torch.from_numpy(labels), resamples=200).balanced_accuracy
        held += low <= 0.75 <= high
    assert 0.90 <= held / trials <= 0.99


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_interval_of_the_calibration_error_holds_the_true_one(factor):
    random, held, trials = np.random.default_rng(3), 0, 100
    every, own = honest(1_000_000, random)
    # Of the honest model the true error is 0; what many images show of the other is all but the truth.
    truth = 0.0 if factor == 1 else reliability(factor * every, own).expected_error
    for _ in range(trials):
        logits, labels = honest(500, random)
        low, high = bootstrap_intervals(factor * logits, labels, resamples=200).expected_calibration_error
        assert low <= reliability(factor * logits, labels).expected_error <= high + 1e-12
        held += low <= truth <= high
    assert held / trials >= 0.89


def test_percentiles_would_miss_the_true_calibration_error():
    logits, labels = honest(500, np.random.default_rng(4))

    def error(chosen):
        return reliability(logits[chosen], labels[chosen]).expected_error

    assert bootstrap_interval(error, 500, resamples=100)[0] > 0.01
    assert bootstrap_intervals(logits, labels, resamples=100).expected_calibration_error[0] == 0


def test_the_calibration_interval_of_a_single_bin_is_the_gaps_own():
    # Far from 0 sizes are plain values, and the ends are those of a normal value.
    chance = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None] * 0.01
    assert calibration_interval(np.array([-0.2]), -0.2 + chance) == pytest.approx((0.1804, 0.2196), abs=1e-4)


def test_the_calibration_interval_at_its_ends():
    none = np.zeros(3)
    assert calibration_interval(none, np.zeros((5, 3))) == (0.0, 0.0)
    assert calibration_interval(np.array([0.5, 0.4]), np.array([[0.9, 0.4], [0.1, 0.4]]))[1] == 1.0
    assert calibration_interval(none, np.zeros((0, 3))) == pytest.approx(NONE, nan_ok=True)


def test_a_class_without_images_has_none_whether_or_not_it_is_said():
    logits = torch.tensor([[2.0, 0, 0, 1], [0, 2.0, 0, 1], [0, 0, 2.0, 1], [2.0, 0, 0, 1]])
    found = bootstrap_intervals(logits, torch.tensor([0, 1, 1, 0]), resamples=50)
    assert np.isnan(found.f1[2]).all()
    assert np.isnan(found.f1[3]).all()
    assert found.f1[0] == (1.0, 1.0)
    assert found.f1[1][0] < 2 / 3 < found.f1[1][1] == 1.0


def test_of_one_image_there_is_none():
    found = bootstrap_intervals(torch.tensor([[2.0, 1.0]]), torch.tensor([0]), resamples=20)
    assert np.isnan([found.balanced_accuracy, found.macro_f1, found.brier_score, found.f1[0]]).all()
    assert np.isnan([found.negative_log_likelihood, found.expected_calibration_error]).all()


def test_a_single_class_is_always_right():
    found = bootstrap_intervals(torch.zeros(5, 1), torch.zeros(5, dtype=torch.int64), resamples=20)
    assert found.balanced_accuracy == found.macro_f1 == found.f1[0] == (1.0, 1.0)
    assert found.expected_calibration_error == found.brier_score == (0.0, 0.0)


def test_logits_and_labels_must_agree():
    with pytest.raises(ShapeError, match="equally many"):
        bootstrap_intervals(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))


def test_macro_f1_is_scikit_learns():
    logits, labels = drawn(300, 6, 5, help_=0.5)
    expected = f1_score(labels.numpy(), logits.argmax(1).numpy(), average="macro")
    assert macro_f1(confusion(logits, labels)) == pytest.approx(expected)
    # A class that is neither there nor said does not count; one that is said only counts as 0.
    assert macro_f1(np.array([[2, 0, 0], [0, 0, 0], [0, 0, 0]])) == 1.0
    assert macro_f1(np.array([[2, 2, 0], [0, 0, 0], [0, 0, 0]])) == pytest.approx((2 / 3 + 0) / 2)


def test_shares_of_a_class_have_wilsons_intervals(judged):
    logits, labels = judged
    confused = confusion(logits, labels)
    for place, each in enumerate(by_class(logits, labels)):
        right = int(confused[place, place])
        assert each.recall_interval == wilson_interval(right, int(confused[place].sum()))
        assert each.precision_interval == wilson_interval(right, int(confused[:, place].sum()))
        assert each.recall_interval[0] < each.recall < each.recall_interval[1]
        assert each.roc_auc_interval[0] < each.roc_auc < each.roc_auc_interval[1]


def test_what_has_no_figure_has_no_interval():
    never = by_class(torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]), torch.tensor([0, 2]))
    assert np.isnan(never[1].recall_interval + never[1].roc_auc_interval + never[2].precision_interval).all()
    assert never[1].precision_interval == wilson_interval(0, 1)
    assert never[2].recall_interval == wilson_interval(0, 1)
    assert wilson_interval(0, 0) == pytest.approx(NONE, nan_ok=True)


def test_the_area_is_scikit_learns_with_ties():
    random = np.random.default_rng(6)
    for images in (5, 60, 700):
        belongs = random.random(images) < 0.3
        belongs[:2] = True, False
        chances = np.round(random.random(images) + 0.3 * belongs, 1)
        assert roc_auc(belongs, chances) == pytest.approx(roc_auc_score(belongs, chances), abs=1e-12)
    assert math.isnan(roc_auc(np.ones(3, bool), random.random(3)))
    assert math.isnan(roc_auc(np.zeros(3, bool), random.random(3)))


@pytest.mark.parametrize("area", [0.0, 1.0])
def test_the_interval_of_the_area_of_one_pair_is_wilsons(area):
    assert roc_auc_interval(area, 1, 1) == pytest.approx(wilson_interval(int(area), 1), abs=1e-12)


def test_the_area_lies_at_the_edge_of_chance_from_both_ends():
    own, others, area = 30, 200, 0.93
    for end in roc_auc_interval(area, own, others):
        # Hanley and McNeil's standard error, at the end.
        by_own, by_others = end / (2 - end), 2 * end**2 / (1 + end)
        parts = end * (1 - end) + (own - 1) * (by_own - end**2) + (others - 1) * (by_others - end**2)
        assert abs(area - end) / math.sqrt(parts / (own * others)) == pytest.approx(norm.ppf(0.975), rel=1e-6)


@pytest.mark.parametrize(("own", "others", "area"), [(15, 85, 0.8), (40, 400, 0.97)])
def test_the_interval_of_the_area_holds_the_true_one(own, others, area):
    random, shift, trials, held = np.random.default_rng(7), norm.ppf(area) * math.sqrt(2), 200, 0
    belongs = np.arange(own + others) < own
    for _ in range(trials):
        found = roc_auc(belongs, random.normal(size=own + others) + shift * belongs)
        low, high = roc_auc_interval(found, own, others)
        held += low <= area <= high
    assert held / trials >= 0.93
