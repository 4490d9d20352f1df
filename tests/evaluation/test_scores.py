"""What a report says of scores: every figure with its interval, and nothing that JSON cannot hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fovea.evaluation.intervals import bootstrap_intervals
from fovea.evaluation.metrics import wilson_interval
from fovea.evaluation.scores import score

FIGURES = ("balanced_accuracy", "macro_f1", "brier_score", "expected_calibration_error")


@pytest.fixture(scope="module")
def scores():
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.integers(0, 7, 400))
    logits = torch.from_numpy(random.normal(size=(400, 7))) + 2 * torch.eye(7)[labels]
    return score(logits, labels, split="test", classes=tuple("abcdefg"))


def test_every_figure_has_an_interval_that_holds_it(scores):
    told = scores.summary() | scores.details()
    for name in ("top1", "top5", "negative_log_likelihood", *FIGURES):
        low, high = told[f"{name}_interval"]
        assert low < told[name] < high, name
    for name, each in told["classes"].items():
        for figure in ("precision", "recall", "f1", "roc_auc"):
            low, high = each[f"{figure}_interval"]
            assert low < each[figure] < high, (name, figure)


def test_shares_have_wilsons_and_the_others_the_bootstraps(scores):
    told, found = scores.details(seed=3), bootstrap_intervals(scores.logits, scores.labels, seed=3)
    hits = int((scores.logits.argsort(1)[:, -5:] == scores.labels[:, None]).sum())
    assert told["top5_interval"] == list(wilson_interval(hits, 400))
    for figure in (*FIGURES, "negative_log_likelihood"):
        assert told[f"{figure}_interval"] == list(getattr(found, figure))
    assert [each["f1_interval"] for each in told["classes"].values()] == [list(each) for each in found.f1]
    assert told["bootstrap"] == {"samples": 2000, "seed": 3}


def test_the_seed_decides(scores):
    assert scores.details() == scores.details(seed=0)
    assert scores.details()["macro_f1_interval"] != scores.details(seed=1)["macro_f1_interval"]


def test_macro_f1_is_the_mean_of_the_classes(scores):
    told = scores.details()
    assert told["macro_f1"] == pytest.approx(np.mean([each["f1"] for each in told["classes"].values()]))


@pytest.mark.parametrize(
    ("logits", "labels"),
    [([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]], [0, 0]), ([[2.0, 0.0, 1.0]], [2]), ([[0.0], [0.0]], [0, 0])],
)
def test_what_is_not_defined_is_none(logits, labels):
    found = score(torch.tensor(logits), torch.tensor(labels), split="test", classes=tuple("abc"[: len(logits[0])]))
    told = json.loads(json.dumps(found.details(), allow_nan=False))
    assert told["classes"]["a"]["roc_auc"] is None or len(set(labels)) == 1
    for name, each in told["classes"].items():
        assert each["roc_auc_interval"] is None
        assert (each["recall_interval"] is None) == (each["images"] == 0), name
        assert (each["precision_interval"] is None) == (each["precision"] is None), name
        assert each["images"] or each["f1_interval"] is None
    assert (told["balanced_accuracy_interval"] is None) == (len(labels) == 1)
