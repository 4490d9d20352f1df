"""Maps of feature space."""

import hashlib
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, NumbersError, UsageError
from fovea.explain.spaces import embedded, feature_space
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state

BY_BRIGHTNESS = (30, 120, 210)  # classes that every network tells apart


def a_model(network=None, **changes):
    torch.manual_seed(0)
    spec = Preprocessing(image_size=12, resize=12, in_channels=3)
    network = network or Small(classes=3)
    return Model(Bundle(network=network, architecture={}, classes=("a", "b", "c"), preprocessing=spec), **changes)


def a_split(count=60):
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 30, (count, 12, 12, 3))
    pixels = (noise + np.array(BY_BRIGHTNESS)[labels][:, None, None, None]).astype(np.uint8)
    return Split("test", ArrayImages(pixels, "own"), labels, ("a", "b", "c"))


def blobs(count=90, width=20):
    generator = np.random.default_rng(1)
    labels = np.arange(count) % 3
    rows = generator.normal(size=(count, width)) + 20 * generator.normal(size=(3, width))[labels]
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_classes_that_a_network_tells_apart_lie_apart(method):
    model = a_model()
    before = state(model.network)
    found = feature_space(model, a_split(), method=method, stage="second")
    assert found.places.shape == (60, 2)
    assert found.places.dtype == np.float32
    assert found.neighbour_accuracy == 1
    assert found.trustworthiness > 0.8
    np.testing.assert_array_equal(found.labels, np.arange(60) % 3)
    assert state(model.network) == before
    assert "of second, 60 images" in str(found)


def test_principal_components_are_those_of_the_singular_values():
    rows, _ = blobs()
    places, variance = embedded(rows, method="pca")
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(places), np.abs(left[:, :2] * sizes[:2]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(variance, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-6)


def test_t_sne_keeps_neighbours_together_and_depends_on_the_seed_alone():
    rows, labels = blobs()
    places, variance = embedded(rows, method="tsne", seed=3)
    assert variance == ()
    middles = np.stack([places[labels == label].mean(0) for label in range(3)])
    within = max(np.linalg.norm(places[labels == label] - middles[label], axis=1).max() for label in range(3))
    between = min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    assert between > within
    np.random.seed(0)  # the global generator, of which nothing may depend
    state = hashlib.sha256(np.random.get_state()[1].tobytes()).hexdigest()
    np.testing.assert_array_equal(places, embedded(rows, method="tsne", seed=3)[0])
    assert hashlib.sha256(np.random.get_state()[1].tobytes()).hexdigest() == state


def test_many_dimensions_are_first_brought_to_fifty(monkeypatch):
    seen = []
    from sklearn.manifold import TSNE

    real = TSNE.fit_transform
    monkeypatch.setattr(TSNE, "fit_transform", lambda self, rows: seen.append(rows.shape) or real(self, rows))
    rows = np.random.default_rng(0).normal(size=(70, 200)).astype(np.float32)
    embedded(rows, method="tsne")
    assert seen == [(70, 50)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize(
    "rows",
    [np.ones((8, 5)), np.arange(30.0).reshape(30, 1), np.eye(3), np.repeat(np.eye(2), 6, 0)],
    ids=["all equal", "one number each", "three images", "two points"],
)
def test_features_of_few_dimensions_or_none_get_places_too(rows, method):
    places, variance = embedded(rows.astype(np.float32), method=method)
    assert places.shape == (len(rows), 2)
    assert np.isfinite(places).all()
    assert np.isfinite(variance).all()


def test_only_images_whose_class_has_another_are_asked_for_their_neighbour():
    split = a_split(12)
    alone = Split("test", split.images, np.arange(12), tuple("abcdefghijkl"))
    found = feature_space(a_model(), alone, method="pca")
    assert np.isnan(found.neighbour_accuracy)
    assert "nearest neighbour" not in str(found)
    labels = np.array([0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    some = Split("test", split.images, labels, tuple("abcdefghi"))
    assert feature_space(a_model(), some, method="pca").neighbour_accuracy in {n / 6 for n in range(7)}


def test_what_gives_no_map_is_refused():
    with pytest.raises(DataError, match="test holds 2 images; a map of feature space needs at least three"):
        feature_space(a_model(), a_split(2))
    with pytest.raises(UsageError, match="no stage is called conv9"):
        feature_space(a_model(), a_split(), stage="conv9")
    with pytest.raises(UsageError, match=r"method \(=umap\) must be tsne or pca"):
        inspect.unwrap(embedded)(np.eye(4, dtype=np.float32), method="umap")  # past the check of types
    with pytest.raises(UsageError, match=r"perplexity \(=0.0\) must be 1 or more"):
        embedded(np.eye(4, dtype=np.float32), method="tsne", perplexity=0.0)
    network = Small(classes=3)
    nn.init.constant_(network.second.bias, float("inf"))
    with pytest.raises(NumbersError, match="second gives NaN or infinity for some image"):
        feature_space(a_model(network), a_split(), stage="second")
