"""The numbers, against scikit-learn and against tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from fovea.errors import ShapeError
from fovea.evaluation.metrics import (
    balanced_accuracy,
    by_class,
    confusion,
    hardest,
    most_confused,
    negative_log_likelihood,
    predicted,
    top_k_accuracy,
    wilson_interval,
)
from fovea.evaluation.scores import score

CASES = [(200, 10, 0), (57, 3, 1), (1, 4, 2), (500, 100, 3)]


def drawn(n, k, seed):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=(n, k)) * 3), torch.from_numpy(random.integers(0, k, n))


@pytest.mark.parametrize("case", CASES)
def test_top_k_accuracy_is_scikit_learns(case):
    logits, labels = drawn(*case)
    for k in (1, 2, min(5, case[1] - 1)):
        expected = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=np.arange(case[1]))
        assert top_k_accuracy(logits, labels, k=k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_confusion_is_scikit_learns(case):
    logits, labels = drawn(*case)
    found = confusion(logits, labels)
    expected = confusion_matrix(labels.numpy(), logits.argmax(1).numpy(), labels=np.arange(case[1]))
    assert np.array_equal(found, expected)
    assert found.sum() == case[0]


@pytest.mark.parametrize("case", CASES)
def test_negative_log_likelihood_is_scikit_learns(case):
    logits, labels = drawn(*case)
    expected = log_loss(labels.numpy(), torch.softmax(logits, 1).numpy(), labels=np.arange(case[1]))
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert negative_log_likelihood(logits.float(), labels) == pytest.approx(expected, abs=1e-6)


def test_ties_count_as_the_lower_class():
    logits, labels = torch.zeros(3, 4), torch.tensor([0, 1, 3])
    assert top_k_accuracy(logits, labels, k=1) == pytest.approx(1 / 3)
    assert top_k_accuracy(logits, labels, k=2) == pytest.approx(2 / 3)
    assert predicted(torch.tensor([[1.0, 5.0, 5.0]])).tolist() == [1]
    assert confusion(logits, labels)[:, 0].tolist() == [1, 1, 0, 1]


def test_ties_among_many_classes_count_as_the_lowest():
    assert predicted(torch.zeros(50, 1000)).tolist() == [0] * 50


def test_k_above_the_number_of_classes_is_cut_to_it():
    logits, labels = drawn(20, 3, 0)
    assert top_k_accuracy(logits, labels, k=5) == 1.0
    assert score(logits, labels, split="test", classes=("a", "b", "c")).k == 3


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 0.2065, 1),
    ],
)
def test_the_wilson_interval_at_known_values(correct, images, low, high):
    assert wilson_interval(correct, images) == pytest.approx((low, high), abs=5e-5)


def test_the_wilson_interval_holds_the_fraction_and_stays_in_0_to_1():
    for images in (1, 7, 1000):
        for correct in range(0, images + 1, max(1, images // 7)):
            low, high = wilson_interval(correct, images)
            assert 0 <= low <= correct / images <= high <= 1


@pytest.mark.parametrize("metric", [top_k_accuracy, negative_log_likelihood, confusion])
@pytest.mark.parametrize(("images", "labels"), [(3, 2), (0, 0)])
def test_logits_and_labels_that_disagree_are_refused_with_both_counts(metric, images, labels):
    with pytest.raises(ShapeError, match=f"logits of {images} images and {labels} labels"):
        metric(torch.zeros(images, 4), torch.zeros(labels, dtype=torch.int64))


def test_scores_hold_every_number_and_print_them():
    logits = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    scores = score(logits, torch.tensor([0, 0, 1, 1]), split="test", classes=("cat", "dog"))
    assert (scores.images, scores.top1, scores.k, scores.top_k) == (4, 0.75, 2, 1.0)
    assert scores.recall == {"cat": 1.0, "dog": 0.5}
    assert scores.confusion.tolist() == [[2, 0], [1, 1]]
    assert list(scores.summary()) == ["images", "top1", "top1_interval", "top2", "negative_log_likelihood"]
    assert str(scores).startswith("test: top-1 accuracy 75.00% (95 % interval 30.06% to 95.44%), 1 of 4 images wrong;")


def test_a_class_without_images_has_no_recall():
    scores = score(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), split="test", classes=("a", "b"))
    assert scores.recall == {"a": 1.0, "b": None}


def test_by_class_is_scikit_learns():
    logits, labels = drawn(500, 6, 4)
    logits[torch.arange(500), labels] += 3
    found, guessed = by_class(logits, labels), logits.argmax(1)
    for figure, theirs in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = theirs(labels.numpy(), guessed.numpy(), average=None)
        assert [getattr(each, figure) for each in found] == pytest.approx(expected)
    assert sum(each.images for each in found) == 500


def test_the_area_is_how_often_a_pair_is_in_order():
    logits, labels = drawn(60, 3, 5)
    chances = torch.softmax(logits, 1)[:, 1].numpy()
    own, others = chances[labels.numpy() == 1], chances[labels.numpy() != 1]
    assert by_class(logits, labels)[1].roc_auc == pytest.approx((own[:, None] > others).mean())


def test_a_class_without_images_has_no_figures():
    found = by_class(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    assert (found[0].precision, found[0].recall, found[0].roc_auc, found[2].images) == (1.0, 1.0, 1.0, 0)
    assert all(np.isnan(each) for each in (found[2].precision, found[2].recall, found[2].roc_auc))


def test_balanced_accuracy_is_scikit_learns_and_passes_over_empty_classes():
    logits, labels = drawn(200, 4, 6)
    expected = balanced_accuracy_score(labels.numpy(), logits.argmax(1).numpy())
    assert balanced_accuracy(confusion(logits, labels)) == pytest.approx(expected)
    assert balanced_accuracy(np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]])) == pytest.approx(0.625)


def test_the_pairs_mistaken_most_often():
    confused = np.array([[9, 2, 0], [5, 1, 0], [0, 2, 7]])
    assert most_confused(confused) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert most_confused(confused, count=1) == [(1, 0, 5)]
    assert most_confused(np.eye(3, dtype=np.int64)) == []


def test_the_hardest_classes_are_those_of_which_most_is_missed():
    confused = np.array([[4, 1, 0, 0], [2, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0]])
    assert hardest(confused) == [1, 0]
    assert hardest(confused, count=1) == [1]
