"""Losses, against computations of their own."""

from __future__ import annotations

import math

import pytest
import torch

from fovea.training.losses import RUBBISH_DISTANCE, criterion, map_criterion
from fovea.training.options import TrainingOptions

DISTANCES = torch.rand(13, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8
LABELS = torch.arange(13) % 10


def equation_9(distances, labels, j):
    """Mean of y of the true class + log(exp(-j) + sum of exp(-y)), number by number."""
    total = 0.0
    for row, label in zip(distances.tolist(), labels.tolist(), strict=True):
        total += row[label] + math.log(math.exp(-j) + sum(math.exp(-y) for y in row))
    return total / len(labels)


def test_the_map_criterion_is_the_papers_equation_9():
    assert float(map_criterion(-DISTANCES, LABELS)) == pytest.approx(
        equation_9(DISTANCES, LABELS, RUBBISH_DISTANCE), abs=1e-12
    )


def test_the_map_criterion_at_a_value_found_by_hand():
    loss = map_criterion(-torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log(1 + 2 * math.exp(-1)), abs=1e-12)


def test_the_map_criterion_pulls_the_true_class_nearer_and_pushes_the_others_away():
    distances = DISTANCES.clone().requires_grad_()
    map_criterion(-distances, LABELS).backward()
    true = torch.zeros_like(distances, dtype=torch.bool)
    true[torch.arange(13), LABELS] = True
    assert (distances.grad[true] > 0).all()
    assert (distances.grad[~true] < 0).all()


def test_the_map_criterion_hardly_pushes_classes_that_are_far_already():
    distances = torch.tensor([[0.5, 1.0, 40.0]], dtype=torch.float64, requires_grad=True)
    map_criterion(-distances, torch.tensor([0])).backward()
    near, far = distances.grad[0, 1].abs(), distances.grad[0, 2].abs()
    assert near > 0.1
    assert far < 1e-15


def test_the_map_criterion_stays_finite_at_huge_distances():
    loss = map_criterion(torch.tensor([[-1e6, -2e6]], dtype=torch.float64), torch.tensor([0]))
    assert float(loss) == pytest.approx(1e6 - RUBBISH_DISTANCE)


def test_cross_entropy_spreads_the_label_as_told():
    logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    log_p = logits[0] - math.log(sum(math.exp(v) for v in logits[0].tolist()))
    plain = criterion(TrainingOptions())(logits, torch.tensor([0]))
    smooth = criterion(TrainingOptions(label_smoothing=0.3))(logits, torch.tensor([0]))
    assert float(plain) == pytest.approx(-float(log_p[0]), abs=1e-12)
    assert float(smooth) == pytest.approx(float(-0.7 * log_p[0] - 0.1 * log_p.sum()), abs=1e-12)


def test_the_option_names_the_loss():
    assert criterion(TrainingOptions(loss="map")) is map_criterion
