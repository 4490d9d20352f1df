"""Classifiers of fixed features: they are linear where they say so, and choose by folds of what they were given."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from fovea.transfer import classifiers
from fovea.transfer.classifiers import KINDS, Kind, fitted

Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> Arrays:
    bunch = load_digits()
    rows, labels = bunch.data.astype(np.float32), bunch.target.astype(np.int64)
    mixed = np.random.default_rng(0).permutation(len(rows))
    first, second = mixed[:400], mixed[400:800]
    return rows[first], labels[first], rows[second], labels[second]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_digits(kind: Kind, digits: Arrays) -> None:
    rows, labels, others, truth = digits
    found = fitted(kind, rows, labels, classes=10, seed=0)
    right = (found.logits(others).argmax(1).numpy() == truth).mean()
    assert right > 0.88
    assert 0.88 < found.cross_validated < 1
    assert found.images == 400


@pytest.mark.parametrize("kind", ["probe", "svm"])
@pytest.mark.parametrize("classes", [2, 10])
def test_weight_and_bias_give_the_very_logits(kind: Kind, classes: int, digits: Arrays) -> None:
    rows, labels, others, _ = digits
    few = labels < classes
    found = fitted(kind, rows[few], labels[few], classes=classes, seed=0)
    assert found.linear is not None
    weight, bias = found.linear
    assert weight.shape == (classes, 64)
    logits = found.logits(others)
    assert torch.allclose(torch.from_numpy(others) @ weight.T + bias, logits, atol=1e-4 * float(logits.abs().max()))


def test_the_probe_is_scikit_learn_s_regression_on_standardised_features(digits: Arrays) -> None:
    rows, labels, others, _ = digits
    found = fitted("probe", rows, labels, classes=10, seed=0)
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=found.setting, max_iter=1000).fit(scaler.transform(rows), labels)
    expected = model.predict_proba(scaler.transform(others))
    assert np.abs(torch.softmax(found.logits(others), 1).numpy() - expected).max() < 1e-3


def test_of_two_classes_the_probe_s_probabilities_are_scikit_learn_s(digits: Arrays) -> None:
    rows, labels, others, _ = digits
    few = labels < 2
    found = fitted("probe", rows[few], labels[few], classes=2, seed=0)
    scaler = StandardScaler().fit(rows[few])
    model = LogisticRegression(C=found.setting, max_iter=1000).fit(scaler.transform(rows[few]), labels[few])
    expected = model.predict_proba(scaler.transform(others))
    assert np.abs(torch.softmax(found.logits(others), 1).numpy() - expected).max() < 1e-3


def test_the_one_nearest_neighbour_is_scikit_learn_s(digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels, others, _ = digits
    monkeypatch.setattr(classifiers, "NEIGHBOURS", (1,))
    found = fitted("knn", rows, labels, classes=10, seed=0)
    expected = KNeighborsClassifier(1, metric="cosine").fit(rows, labels).predict(others)
    assert (found.logits(others).argmax(1).numpy() == expected).all()
    assert torch.isfinite(found.logits(others)).all()


def test_the_setting_is_the_best_over_the_folds(digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels, *_ = digits
    worth = {}
    for strength in (1e-6, 1e-2):
        monkeypatch.setattr(classifiers, "STRENGTHS", (strength,))
        worth[strength] = fitted("svm", rows, labels, classes=10, seed=0).cross_validated
    monkeypatch.setattr(classifiers, "STRENGTHS", tuple(worth))
    assert fitted("svm", rows, labels, classes=10, seed=0).setting == max(worth, key=worth.__getitem__)


def test_a_class_that_a_fold_has_not_is_not_chosen_there_and_learned_in_the_end(digits: Arrays) -> None:
    rows, labels, *_ = digits
    few = np.concatenate(
        [np.flatnonzero(labels == 0)[:20], np.flatnonzero(labels == 1)[:20], np.flatnonzero(labels == 2)[:1]]
    )
    found = fitted("probe", rows[few], labels[few], classes=4, seed=0)
    assert found.logits(rows[few]).shape == (41, 4)
    assert 3 not in found.logits(rows[few]).argmax(1).tolist()


def test_a_feature_that_never_changes_does_no_harm(digits: Arrays) -> None:
    rows, labels, others, _ = digits
    constant = np.full((len(rows), 1), 7, np.float32)
    found = fitted("probe", np.hstack([rows, constant]), labels, classes=10, seed=0)
    assert torch.isfinite(found.logits(np.hstack([others, constant[: len(others)]]))).all()


def test_of_many_images_a_stratified_share_chooses(digits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels, *_ = digits
    monkeypatch.setattr(classifiers, "LARGEST", 100)
    assert 90 <= fitted("svm", rows, labels, classes=10, seed=0).images <= 110
