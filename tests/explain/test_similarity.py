"""Linear centred kernel alignment against its formula, written out in double precision."""

import numpy as np
import pytest
import torch
from torch import nn

from fovea.bundle import Bundle
from fovea.data.preprocessing import Preprocessing
from fovea.data.sets import ArrayImages, Split
from fovea.errors import DataError, NumbersError, UsageError
from fovea.explain.similarity import gram, hsic, similarity
from fovea.runtime.features import features
from fovea.runtime.model import Model
from tests.explain.conftest import Small, state


def rows(count=12, width=7, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def cka(one, two):
    one, two = gram(one), gram(two)
    return float(hsic(one, two) / (hsic(one, one) * hsic(two, two)).sqrt())


def by_formula(one, two):
    """HSIC_1 of Nguyen et al., equation 3, as it is printed, of features that are not centred."""
    one, two = one.double().numpy(), two.double().numpy()
    k, l, n = one @ one.T, two @ two.T, len(one)  # noqa: E741  # the paper's letters
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    ones = np.ones(n)
    whole = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + whole - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))


def by_permutations(one, two):
    """The same as the mean over all different i, j, q, r of k_ij (l_ij + l_qr - 2 l_iq): what it estimates."""
    import itertools

    k, l = (one.double() @ one.double().T).numpy(), (two.double() @ two.double().T).numpy()  # noqa: E741
    chosen = list(itertools.permutations(range(len(one)), 4))
    return np.mean([k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q]) for i, j, q, r in chosen])


def a_model(seed=0, network=None, **preprocessing):
    torch.manual_seed(seed)
    spec = Preprocessing(**{"image_size": 12, "resize": 12, "in_channels": 3} | preprocessing)
    network = network or Small(channels=spec.in_channels)
    return Model(Bundle(network=network, architecture={}, classes=tuple("abcd"), preprocessing=spec), batch_size=16)


def a_split(count=40):
    pixels = np.random.default_rng(5).integers(0, 256, (count, 12, 12, 3), np.uint8)
    return Split("test", ArrayImages(pixels, "own"), np.arange(count) % 4, tuple("abcd"))


STAGES = ("first", "pool", "second")


def test_hsic_is_the_papers_formula_and_the_mean_over_four_different_images():
    one, two = rows(7) + 3, rows(7, 4, seed=1) - 2
    found = float(hsic(gram(one), gram(two)))
    assert found == pytest.approx(by_formula(one, two), rel=1e-9)
    assert found == pytest.approx(by_permutations(one, two), rel=1e-9)


def test_it_is_a_value_worked_out_by_hand():
    one = torch.tensor([[1.0], [0.0], [0.0], [0.0]])  # off the diagonal, uncentred, all products are 0 ...
    assert float(hsic(gram(one), gram(one))) == pytest.approx(0, abs=1e-15)  # ... and so is the estimate
    two = torch.tensor([[1.0], [1.0], [0.0], [0.0]])  # K_12 = K_21 = 1: tr KK = 2, 1K1 = 2, 1KK1 = 2
    assert float(hsic(gram(two), gram(two))) == pytest.approx((2 + 4 / 6 - 2) / 4)


def test_rotation_and_scale_change_nothing():
    turn, _ = torch.linalg.qr(rows(7, 7, seed=4).double())
    turned = (rows().double() @ turn).float()
    assert cka(rows(), turned) == pytest.approx(1, abs=1e-6)
    assert cka(rows(), 1000 * rows()) == pytest.approx(1, abs=1e-9)
    other = rows(12, 5, seed=9)
    assert cka(rows(), other) == pytest.approx(cka(0.01 * turned, other + 100), abs=1e-4)


def test_features_that_have_nothing_in_common_are_about_0_on_average():
    pairs = [(rows(10, 200, seed=2 * n), rows(10, 200, seed=2 * n + 1)) for n in range(200)]
    found = [float(hsic(gram(one), gram(two))) for one, two in pairs]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 4 * error
    assert float(hsic(gram(pairs[0][0]), gram(pairs[0][0]))) > 50 * error
    centre = torch.eye(10) - 0.1
    biased = [torch.trace(one @ one.T @ centre @ two @ two.T @ centre) / 9**2 for one, two in pairs]
    assert np.mean(biased) > 50 * error  # which is why it is not taken


def test_rows_in_blocks_give_the_same_products_and_large_means_cost_no_digits(monkeypatch):
    whole = gram(rows(6, 50))
    monkeypatch.setattr("fovea.explain.similarity.BLOCK", 7)
    torch.testing.assert_close(gram(rows(6, 50)), whole)
    assert (whole.diagonal() == 0).all()
    centred = rows(6, 50) - rows(6, 50).mean(0)
    expected = (centred.double() @ centred.double().T).fill_diagonal_(0)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)


def test_a_matrix_of_one_batch_is_the_formula_on_whole_maps():
    model, split = a_model(), a_split()
    found = similarity(model, split, stages=STAGES, batch_size=40)
    maps = features(model, split, stages=STAGES, pooled=False)
    flat = [torch.from_numpy(maps[stage]).flatten(1) for stage in STAGES]
    own = [by_formula(each, each) for each in flat]
    expected = [[by_formula(a, b) / np.sqrt(own[i] * own[j]) for j, b in enumerate(flat)] for i, a in enumerate(flat)]
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.diag(found.matrix), 1, atol=1e-12)
    np.testing.assert_allclose(found.matrix, found.matrix.T, atol=1e-12)
    assert found.rows == found.columns == STAGES
    assert found.images == 40
    assert "second" in str(found)


def test_batches_estimate_the_same_and_no_image_is_left_out(monkeypatch):
    model, split = a_model(), a_split(37)
    seen = []
    import fovea.explain.similarity as module

    real = module._grams
    monkeypatch.setattr(module, "_grams", lambda *given: seen.append(given[2]) or real(*given))
    whole = similarity(model, split, stages=STAGES, batch_size=64)
    parts = similarity(model, split, stages=STAGES, batch_size=12)
    np.testing.assert_allclose(parts.matrix, whole.matrix, atol=0.15)
    assert [len(chosen) for chosen in seen] == [37, 10, 9, 9, 9]
    assert sorted(np.concatenate(seen[1:]).tolist()) == list(range(37))
    assert not np.array_equal(seen[1], np.arange(10))  # of sorted images each batch would hold one class
    similarity(model, a_split(7), stages=STAGES, batch_size=4)
    assert len(seen[-1]) == 7


def test_two_networks_each_see_the_images_through_their_own_preprocessing():
    first, second = a_model(), a_model(1, mean=(0.5,), std=(0.1,), in_channels=1)
    before = state(first.network), state(second.network)
    found = similarity(first, a_split(), other=second, stages=["first", "second"], other_stages=STAGES, batch_size=64)
    assert found.matrix.shape == (2, 3)
    assert (state(first.network), state(second.network)) == before
    one = torch.from_numpy(features(first, a_split(), stages=["first"], pooled=False)["first"]).flatten(1)
    two = torch.from_numpy(features(second, a_split(), stages=["second"], pooled=False)["second"]).flatten(1)
    expected = by_formula(one, two) / np.sqrt(by_formula(one, one) * by_formula(two, two))
    assert found.matrix[0, 2] == pytest.approx(expected, abs=1e-4)
    same = similarity(first, a_split(), other=first, stages=STAGES, other_stages=STAGES)
    np.testing.assert_allclose(same.matrix, similarity(first, a_split(), stages=STAGES).matrix, atol=1e-12)


def test_a_stage_that_makes_the_same_of_every_image_is_like_none():
    network = Small()
    nn.init.zeros_(network.second.weight)
    nn.init.constant_(network.second.bias, 0.3)
    found = similarity(a_model(network=network), a_split(), stages=STAGES, batch_size=9).matrix
    assert (found[2] == 0).all()
    assert (found[:, 2] == 0).all()
    assert found[0, 1] > 0


def test_rounding_is_no_variation_and_little_variation_is_one():
    step = torch.finfo(torch.float32).eps
    assert (gram(5 * (1 + step * (rows() > 0))) == 0).all()
    assert (gram(5 * (1 + 100 * step * (rows() > 0))) != 0).any()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="test holds 3 images; the estimate of their similarity needs at least four"):
        similarity(a_model(), a_split(3), stages=STAGES)
    with pytest.raises(UsageError, match=r"batch_size \(=3\) must be 4 or more"):
        similarity(a_model(), a_split(), stages=STAGES, batch_size=3)
    with pytest.raises(UsageError, match="has no named stages; name its layers by their paths"):
        similarity(a_model(), a_split())
    with pytest.raises(UsageError, match="no stage is called conv9"):
        similarity(a_model(), a_split(), stages=["conv9"])
    network = Small()
    nn.init.constant_(network.second.bias, float("nan"))
    with pytest.raises(NumbersError, match="second gives NaN or infinity for some image"):
        similarity(a_model(network=network), a_split(), stages=["second"])
