"""Maps of feature space."""

import numpy as np
import pytest
import torch

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, NumbersError, UsageError
from fovea.explain.spaces import embedded, feature_space
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state


def clusters(each=20, wide=30):
    draw = np.random.default_rng(0)
    centres = 20 * draw.normal(size=(3, wide))
    return (centres.repeat(each, axis=0) + draw.normal(size=(3 * each, wide))).astype(np.float32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    spec = Preprocessing(image_size=12, resize=12, in_channels=3)
    return Model(Bundle(network=Small(), architecture=None, classes=tuple("abcd"), preprocessing=spec), batch_size=8)


def split_of(count):
    pixels = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 3), dtype=np.uint8)
    return Split("test", ArrayImages(pixels, "test"), np.arange(count) % 4, tuple("abcd"))


def test_principal_components_are_those_of_the_covariance():
    rows = clusters()
    places, variance = embedded(rows, method="pca")
    values, vectors = np.linalg.eigh(np.cov(rows.astype(np.float64).T))
    np.testing.assert_allclose(variance, values[::-1][:2] / values.sum(), rtol=1e-6)
    expected = (rows - rows.mean(0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(places), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_tsne_keeps_clusters_together_and_depends_on_the_seed_alone():
    rows = clusters()
    places, variance = embedded(rows, method="tsne", seed=3)
    assert variance == ()
    np.testing.assert_array_equal(places, embedded(rows, method="tsne", seed=3)[0])
    middles = places.reshape(3, 20, 2).mean(1)
    spread = places.reshape(3, 20, 2).std(1).max()
    apart = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert apart > 3 * spread


def test_few_images_and_one_number_are_enough():
    assert embedded(clusters()[:3], method="tsne")[0].shape == (3, 2)
    assert embedded(clusters()[:, :1], method="tsne")[0].shape == (60, 2)
    assert embedded(np.ones((4, 5), np.float32), method="pca")[1] == (0.0, 0.0)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_stage_of_a_model_becomes_a_plane_with_its_figures(model, method):
    before = state(model.network)
    found = feature_space(model, split_of(40), stage="second", method=method)
    assert state(model.network) == before
    assert found.places.shape == (40, 2)
    assert 0 < found.trustworthiness <= 1
    assert 0 <= found.neighbour_accuracy < 0.7  # noise: chance is a quarter
    assert len(found.variance) == (2 if method == "pca" else 0)
    assert "of second, 40 images; trustworthiness 0." in str(found)


def test_what_cannot_be_is_refused(model):
    with pytest.raises(DataError, match="test holds 2 images; a map of feature space needs at least three"):
        feature_space(model, split_of(2))
    with pytest.raises(UsageError, match="no stage is called thrid"):
        feature_space(model, split_of(5), stage="thrid")
    with pytest.raises(UsageError, match=r"perplexity \(=0.5\) must be 1 or more"):
        embedded(clusters(), method="tsne", perplexity=0.5)
    torch.nn.init.constant_(model.network.first.weight, float("nan"))
    with pytest.raises(NumbersError, match="second gives NaN or infinity"):
        feature_space(model, split_of(5), stage="second")
