"""Mixed images, and labels in the very proportion of what is seen."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fovea.data.augmentation.mixing import cutmix, mix, mixup
from fovea.data.batch import Batch
from fovea.data.options import Augmentation
from fovea.randomness import key

KEY = key(0, "augmentation", 0)
OPTIONS = [Augmentation(mixup=0.3), Augmentation(cutmix=1.0), Augmentation(mixup=0.3, cutmix=1.0)]


def batch(n: int = 20, size: int = 9) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Image i is i + 1 everywhere, and its label is i."""
    labels = torch.arange(n)
    return (labels + 1.0)[:, None, None, None].expand(n, 2, size, size).contiguous(), labels, np.arange(n) + 50


@pytest.mark.parametrize("options", OPTIONS)
def test_labels_partners_and_shares_describe_the_images(options: Augmentation) -> None:
    images, labels, indices = batch()
    before = images.clone()
    for epoch in range(8):
        mixed = mix(images, labels, indices, options, key(0, "augmentation", epoch))
        assert isinstance(mixed, Batch)
        assert mixed.partners is not None
        assert mixed.shares is not None
        assert mixed.shares.dtype == mixed.images.dtype == torch.float32
        assert torch.equal(mixed.labels, labels)
        assert torch.equal(mixed.partners, torch.cat([labels[1:], labels[:1]]))
        assert (mixed.shares >= 0).all()
        assert (mixed.shares <= 1).all()
        seen = mixed.images.mean((1, 2, 3))
        expected = mixed.shares * (labels + 1) + (1 - mixed.shares) * (mixed.partners + 1)
        torch.testing.assert_close(seen, expected)
    assert torch.equal(images, before)


def test_nothing_asked_for_mixes_nothing() -> None:
    images, labels, indices = batch()
    mixed = mix(images, labels, indices, Augmentation(), KEY)
    assert mixed.images is images
    assert mixed.labels is labels
    assert mixed.partners is None
    assert mixed.shares is None


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixups_shares_follow_the_beta_distribution(alpha: float) -> None:
    _, shares = mixup(torch.zeros(20000, 1, 1, 1), np.arange(20000), alpha, KEY)
    assert abs(shares.mean() - 0.5) < 0.01
    assert abs(shares.double().var() - 1 / (4 * (2 * alpha + 1))) < 0.005
    assert ((shares >= 0) & (shares <= 1)).all()


def test_cutmix_pastes_one_square_and_shares_are_exact() -> None:
    images, _, _ = batch(400, 16)
    found, shares = cutmix(images, np.arange(400), 1.0, KEY)
    own = (found == images).all(1)
    assert torch.equal(shares, own.float().mean((1, 2)))
    other = ~own
    rows, columns = other.any(2), other.any(1)
    assert torch.equal(other, rows[:, :, None] & columns[:, None, :])
    assert torch.equal(found[:, 0], torch.where(own, images[:, 0], images.roll(-1, 0)[:, 0]))
    squares = (rows.sum(1) == columns.sum(1)).float().mean()
    assert 0.2 < squares < 0.9  # the others are clipped at the border
    assert 0.5 < shares.mean() < 0.75


@pytest.mark.parametrize("work", [mixup, cutmix])
def test_shares_depend_on_the_image_alone(work: Callable) -> None:
    whole = work(torch.zeros(60, 1, 9, 9), np.arange(60), 0.7, KEY)[1]
    for n in (1, 2, 9, 33):
        chosen = np.random.default_rng(n).permutation(60)[:n]
        assert torch.equal(work(torch.zeros(n, 1, 9, 9), chosen, 0.7, KEY)[1], whole[torch.from_numpy(chosen)])


def test_with_both_each_batch_draws_one_of_them() -> None:
    images, labels, indices = batch(16)
    cut = 0
    for epoch in range(400):
        mixed = mix(images, labels, indices, OPTIONS[2], key(0, "augmentation", epoch))
        alone = [mix(images, labels, indices, options, key(0, "augmentation", epoch)) for options in OPTIONS[:2]]
        same = [torch.equal(mixed.images, each.images) for each in alone]
        assert sum(same) == 1
        cut += same[1]
    assert 160 < cut < 240


def test_an_image_alone_is_mixed_with_itself() -> None:
    for options in OPTIONS:
        mixed = mix(torch.ones(1, 1, 4, 4), torch.tensor([3]), np.array([7]), options, KEY)
        assert mixed.partners is not None
        assert mixed.partners.tolist() == [3]
        torch.testing.assert_close(mixed.images, torch.ones(1, 1, 4, 4))


@given(alpha=st.floats(0.01, 50.0), n=st.integers(1, 9), size=st.integers(1, 12), first=st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_any_alpha_and_size(alpha: float, n: int, size: int, first: int) -> None:
    images = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(n))
    indices = np.arange(first, first + n)
    for found, shares in (mixup(images, indices, alpha, KEY), cutmix(images, indices, alpha, KEY)):
        assert found.shape == images.shape
        assert torch.isfinite(found).all()
        assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", OPTIONS)
def test_a_gpu_gives_the_same(options: Augmentation) -> None:
    images, labels, indices = batch()
    here = mix(images, labels, indices, options, KEY)
    there = mix(images.cuda(), labels.cuda(), indices, options, KEY)
    for one, other in zip(here, there, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(other.cpu(), one)
