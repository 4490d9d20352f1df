"""Linear CKA, without bias, batch by batch."""

import numpy as np
import pytest
import torch

from fovea.architectures.catalogue import build
from fovea.bundle import Bundle, describe
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, UsageError
from fovea.explain.similarity import gram, hsic, similarity
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state


def rows(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cka(one, two):
    k, l = gram(one), gram(two)  # noqa: E741 - as the paper has them
    return hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()


def lenet(seed, **options):
    torch.manual_seed(seed)
    network = build("lenet5")
    spec = Preprocessing(image_size=32, resize=32, in_channels=1, **options)
    classes = tuple("0123456789")
    return Model(Bundle(network=network, architecture=describe(network), classes=classes, preprocessing=spec))


@pytest.fixture
def split():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32), dtype=np.uint8)
    return Split("test", ArrayImages(pixels, "test"), np.zeros(40, np.int64), tuple("0123456789"))


def test_hsic_is_the_paper_s_formula_written_out():
    k, l = gram(rows(6, 3, 0)), gram(rows(6, 4, 1))  # noqa: E741
    ones = torch.ones(6, dtype=torch.float64)
    n = 6
    whole = (
        (k @ l).trace()
        + (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * ones @ k @ l @ ones
    )
    torch.testing.assert_close(hsic(k, l), whole / (n * (n - 3)))


def test_rotation_and_scale_change_nothing_and_another_view_does():
    one = rows(30, 5, 0)
    turn = torch.linalg.qr(rows(5, 5, 1)).Q
    torch.testing.assert_close(cka(one, 3 * one @ turn), torch.tensor(1.0, dtype=torch.float64))
    assert cka(one, one**3) < 0.99


def test_what_has_nothing_in_common_is_about_0_however_wide():
    """The estimate that has a bias would be near 1 here."""
    found = torch.stack([cka(rows(20, 500, seed), rows(20, 500, 1000 + seed)) for seed in range(20)])
    assert found.mean().abs() < 0.05


def test_stages_are_most_like_themselves_and_batches_change_little(split):
    model = lenet(0)
    before = state(model.network)
    found = similarity(model, split, batch_size=40)
    assert state(model.network) == before
    assert found.rows == found.columns == ("conv1", "pool1", "conv2", "pool2")
    np.testing.assert_allclose(np.diag(found.matrix), 1)
    np.testing.assert_allclose(found.matrix, found.matrix.T)
    assert found.images == 40
    parts = similarity(model, split, batch_size=20)
    np.testing.assert_allclose(parts.matrix, found.matrix, atol=0.15)
    assert "linear CKA of 40 images" in str(found)


def test_two_networks_are_compared_each_through_its_own_preprocessing(split):
    one, two = lenet(0), lenet(0, mean=(0.5,), std=(0.1,))
    found = similarity(one, split, other=two, stages=("conv1",), other_stages=("conv1", "pool2"))
    assert found.matrix.shape == (1, 2)
    assert found.matrix[0, 0] < 0.999  # the shift and scale act before a ReLU
    again = similarity(one, split, other=lenet(0), stages=("conv1",), other_stages=("conv1",))
    np.testing.assert_allclose(again.matrix, 1)


def test_what_is_left_of_the_images_and_less_than_four_is_left_out(split):
    assert similarity(lenet(0), split, batch_size=19).images == 38


def test_what_cannot_be_is_refused(split):
    with pytest.raises(DataError, match="test holds 3 images; the estimate"):
        similarity(
            lenet(0), Split("test", ArrayImages(np.zeros((3, 32, 32), np.uint8), "test"), np.zeros(3, np.int64), ("a",))
        )
    with pytest.raises(UsageError, match=r"batch_size \(=3\) must be 4 or more"):
        similarity(lenet(0), split, batch_size=3)
    spec = Preprocessing(image_size=12, resize=12, in_channels=3)
    plain = Model(Bundle(network=Small(), architecture=None, classes=tuple("abcd"), preprocessing=spec))
    with pytest.raises(UsageError, match="has no named stages; name its layers by their paths"):
        similarity(plain, split)
