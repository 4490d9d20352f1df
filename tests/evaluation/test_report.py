"""The report's page and numbers: each figure beside its interval, and a dash where there is none."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from fovea.data.sets import ArrayImages, Split
from fovea.evaluation.report import Told, write_report
from fovea.evaluation.scores import score

CLASSES = ("ant", "bee", "cow")  # of which no image is a cow


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 60)
    images = ArrayImages(random.integers(0, 255, (60, 8, 8), np.uint8), "noise")
    logits = torch.from_numpy(random.normal(size=(60, 3)) - [0, 0, 20]) + 2 * torch.eye(3)[labels]
    scores = score(logits, torch.from_numpy(labels), split="test", classes=CLASSES)
    told = Told(title="a model", facts={"model": "m"}, notes=["a note"])
    page = write_report(tmp_path_factory.mktemp("report"), scores, Split("test", images, labels, CLASSES), told)
    return scores, page.read_text(encoding="utf-8"), json.loads((page.parent / "report.json").read_text())


def test_the_numbers_are_the_scores(written):
    scores, _, numbers = written
    assert numbers == {"model": "m"} | scores.summary() | scores.details() | {"notes": ["a note"]}


@pytest.mark.parametrize(
    ("name", "figure", "how"),
    [
        ("top-3 accuracy", "top3", ".2%"),
        ("balanced accuracy", "balanced_accuracy", ".2%"),
        ("macro F1", "macro_f1", ".4f"),
        ("negative log-likelihood", "negative_log_likelihood", ".4f"),
        ("Brier score", "brier_score", ".4f"),
        ("expected calibration error in 15 bins", "expected_calibration_error", ".2%"),
    ],
)
def test_the_page_says_each_figure_with_its_interval(name, figure, how, written):
    _, page, numbers = written
    low, high = numbers[f"{figure}_interval"]
    assert f"\n{name} {numbers[figure]:{how}} (95 % interval {low:{how}} to {high:{how}})\n" in page


def test_the_page_says_how_the_intervals_were_had(written):
    page = written[1]
    assert "Wilson&#x27;s for top-1, top-3, precision and recall" in page
    assert "2,000 bootstrap samples of the images, seed 0, for the others" in page


def cells(page, name):
    (row,) = re.findall(rf"<tr><td>{name}</td>(.*?)</tr>", page.split("<figcaption>classes", 1)[1].split("</table>")[0])
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_the_table_has_the_ends_beside_each_classes_figure(written):
    _, page, numbers = written
    ant = numbers["classes"]["ant"]
    expected = [[ant[key], *ant[f"{key}_interval"]] for key in ("precision", "recall", "f1", "roc_auc")]
    assert cells(page, "ant") == [str(ant["images"]), *(f"{value:.4f}" for three in expected for value in three)]


def test_a_class_without_images_has_dashes(written):
    assert cells(written[1], "cow") == ["0", *["–"] * 12]
