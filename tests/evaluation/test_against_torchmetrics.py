"""The figures against torchmetrics', which comes with lightning's Fabric, and scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fovea.evaluation import calibration, metrics

functional = pytest.importorskip("torchmetrics.functional.classification")
CLASSES, IMAGES = 7, 900


@pytest.fixture(scope="module")
def judged() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(5)
    labels = torch.randint(CLASSES, (IMAGES,), generator=random)
    logits = torch.randn(IMAGES, CLASSES, generator=random, dtype=torch.float64)
    logits[torch.arange(IMAGES), labels] += 1.2
    return logits, labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k: int, judged) -> None:
    logits, labels = judged
    theirs = functional.multiclass_accuracy(logits, labels, CLASSES, average="micro", top_k=k)
    assert metrics.top_k_accuracy(logits, labels, k=k) == pytest.approx(float(theirs), abs=1e-6)


def test_confusion_and_balanced_accuracy(judged) -> None:
    logits, labels = judged
    ours = metrics.confusion(logits, labels)
    assert np.array_equal(ours, functional.multiclass_confusion_matrix(logits, labels, CLASSES).numpy())
    theirs = functional.multiclass_recall(logits, labels, CLASSES, average="macro")
    assert metrics.balanced_accuracy(ours) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("figure", ["precision", "recall", "f1", "roc_auc"])
def test_figures_of_each_class(figure: str, judged) -> None:
    logits, labels = judged
    name = {"f1": "f1_score", "roc_auc": "auroc"}.get(figure, figure)
    chances = torch.softmax(logits, 1)
    theirs = getattr(functional, f"multiclass_{name}")(chances, labels, CLASSES, average="none")
    ours = [getattr(each, figure) for each in metrics.by_class(logits, labels)]
    assert ours == pytest.approx(theirs.tolist(), abs=1e-6)


def test_expected_calibration_error(judged) -> None:
    logits, labels = judged
    theirs = functional.multiclass_calibration_error(torch.softmax(logits, 1), labels, CLASSES, n_bins=15, norm="l1")
    assert calibration.reliability(logits, labels).expected_error == pytest.approx(float(theirs), abs=1e-6)


def test_brier_score_is_scikit_learns_summed_over_the_classes(judged) -> None:
    from sklearn.metrics import brier_score_loss

    logits, labels = judged
    chances = torch.softmax(logits, 1)
    each = [brier_score_loss((labels == k).numpy(), chances[:, k].numpy()) for k in range(CLASSES)]
    assert calibration.brier_score(logits, labels) == pytest.approx(sum(each), abs=1e-6)
