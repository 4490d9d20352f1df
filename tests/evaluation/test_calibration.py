"""Calibration, against scikit-learn and against models whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from fovea.errors import ShapeError
from fovea.evaluation.calibration import brier_score, fitted_temperature, reliability
from fovea.evaluation.metrics import negative_log_likelihood


def honest(n, k, seed=0, sharpness=2.0):
    """Logits whose softmax is the true distribution of the labels drawn from them."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, k)) * sharpness
    chances = torch.softmax(torch.from_numpy(logits), 1).numpy()
    labels = (chances.cumsum(1) < random.random((n, 1))).sum(1).clip(max=k - 1)
    return torch.from_numpy(logits), torch.from_numpy(labels)


def test_the_bins_are_scikit_learns():
    logits, labels = honest(3000, 2)
    found = reliability(logits, labels, bins=10)
    confidence = torch.softmax(logits, 1).amax(1).numpy()
    right = (logits.argmax(1) == labels).numpy()
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    some = found.images > 0
    assert found.accuracy[some] == pytest.approx(accuracy)
    assert found.confidence[some] == pytest.approx(mean)
    assert found.images.sum() == 3000


def test_an_honest_model_has_little_error_and_a_sure_one_much():
    logits, labels = honest(20_000, 10)
    assert reliability(logits, labels).expected_error < 0.015
    assert reliability(3 * logits, labels).expected_error > 0.1


def test_by_hand():
    logits = torch.log(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    labels = torch.tensor([0, 1, 0])
    found = reliability(logits, labels, bins=2)
    assert found.images.tolist() == [0, 3]
    assert np.isnan(found.accuracy[0])
    assert found.expected_error == pytest.approx(abs(0.8 - 2 / 3), abs=1e-6)
    assert brier_score(logits, labels) == pytest.approx((0.02 + 1.62 + 0.32) / 3, abs=1e-6)


def test_certainty_falls_into_the_last_bin():
    found = reliability(torch.tensor([[100.0, 0.0]]), torch.tensor([0]), bins=5)
    assert found.images.tolist() == [0, 0, 0, 0, 1]


def test_the_brier_score_is_twice_scikit_learns_of_two_classes():
    logits, labels = honest(500, 2)
    expected = 2 * brier_score_loss(labels.numpy(), torch.softmax(logits, 1)[:, 1].numpy())
    assert brier_score(logits, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_the_temperature_undoes_what_the_logits_were_multiplied_by(factor):
    logits, labels = honest(20_000, 10)
    temperature = fitted_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.05)
    best = negative_log_likelihood(factor * logits / temperature, labels)
    for other in (0.99, 1.01):
        assert best <= negative_log_likelihood(factor * logits / (temperature * other), labels)


def test_where_all_is_right_the_logits_stay():
    assert fitted_temperature(torch.eye(4) * 3, torch.arange(4)) == 1.0


def test_where_most_is_wrong_the_logits_nearly_vanish():
    labels = torch.tensor([1, 1, 1, 0])
    assert fitted_temperature(torch.tensor([[9.0, 0.0]] * 4), labels) == pytest.approx(100, rel=1e-3)


def test_logits_and_labels_must_agree():
    for judged in (reliability, brier_score, fitted_temperature):
        with pytest.raises(ShapeError, match="equally many"):
            judged(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
