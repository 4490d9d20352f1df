"""The transformer is one of scikit-learn's, and gives the features of `fovea.features`."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import fovea
from fovea.errors import UsageError
from fovea.transfer.transformer import FeatureTransformer


def images(count: int = 30) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).integers(0, 100, (count, 32, 32, 3))
    return (noise + 120 * labels[:, None, None, None]).astype(np.uint8), labels


# What scikit-learn checks of an estimator without feeding it a table of numbers, which images are not.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learn_s_own_checks_pass(check: str, source: Path) -> None:
    getattr(estimator_checks, check)("FeatureTransformer", FeatureTransformer(source))


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_whatever_scikit_learn_finds_applicable_passes(source: Path) -> None:
    results = estimator_checks.check_estimator(FeatureTransformer(source))
    assert [result["status"] for result in results] == ["passed"] * len(results)
    assert results


def test_it_gives_the_features_of_the_stage(source: Path) -> None:
    pixels, _ = images()
    found = FeatureTransformer(source, stage="conv2_x").fit(pixels)
    expected = fovea.features(source, pixels, stages=["conv2_x"])["conv2_x"]
    assert np.array_equal(found.transform(pixels), expected)
    assert found.get_feature_names_out().tolist() == [f"conv2_x_{n}" for n in range(expected.shape[1])]


def test_it_stands_in_a_pipeline_is_cloned_and_searched_over(source: Path) -> None:
    pixels, labels = images()
    pipeline = make_pipeline(FeatureTransformer(source), LogisticRegression(max_iter=1000))
    assert cross_val_score(clone(pipeline), pixels, labels, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"featuretransformer__stage": ["conv2_x", "head"]}, cv=3).fit(pixels, labels)
    assert set(search.cv_results_["param_featuretransformer__stage"]) == {"conv2_x", "head"}


def test_no_image_and_no_fit_are_refused(source: Path) -> None:
    with pytest.raises(UsageError, match="no image"):
        FeatureTransformer(source).fit(np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="not fitted"):
        FeatureTransformer(source).transform(images()[0])
