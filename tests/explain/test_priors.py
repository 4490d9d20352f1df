"""Priors, of cases that can be told by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fovea.explain.priors import alpha_norm, jittered, offsets, total_variation, turned
from fovea.randomness import uniforms

EDGE = torch.tensor([[[[0.0, 3.0], [4.0, 4.0]]]])  # to the right 3, 0, 0, 0; below 4, 1, 0, 0


def test_total_variation_is_what_the_hand_computes():
    assert total_variation(EDGE).item() == pytest.approx((25 + 1) / 4)
    assert total_variation(EDGE, 1.0).item() == pytest.approx((5 + 1) / 4, abs=1e-3)
    assert total_variation(EDGE, 3.0).item() == pytest.approx((125 + 1) / 4, rel=1e-4)


def test_total_variation_is_of_each_image_and_0_of_a_flat_one():
    images = torch.cat([EDGE, torch.full((1, 1, 2, 2), 7.0), 2 * EDGE])
    torch.testing.assert_close(total_variation(images), torch.tensor([6.5, 0.0, 26.0]))


def test_a_flat_image_has_a_finite_gradient_at_every_beta():
    for beta in (1.0, 1.5, 2.0):
        flat = torch.zeros(1, 3, 4, 4, requires_grad=True)
        (grown,) = torch.autograd.grad(total_variation(flat, beta).sum(), flat)
        assert torch.equal(grown, torch.zeros_like(flat))


def test_the_alpha_norm_is_the_mean_power():
    images = torch.tensor([[[[1.0, -2.0]]], [[[0.0, 0.5]]]])
    torch.testing.assert_close(alpha_norm(images), torch.tensor([(1 + 64) / 2, 0.5**6 / 2]))
    torch.testing.assert_close(alpha_norm(images, 1.0), torch.tensor([1.5, 0.25]))


def test_jitter_shifts_by_at_most_so_many_pixels_by_the_key_alone():
    drawn = {offsets(2, each) for each in range(400)}
    assert drawn == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}
    images = torch.arange(50.0).view(1, 2, 5, 5).repeat(2, 1, 1, 1)
    shifted = jittered(images, 2, 11)
    assert torch.equal(shifted, jittered(images, 2, 11))
    assert torch.equal(shifted[0], shifted[1])
    assert torch.equal(shifted, images.roll(offsets(2, 11), (2, 3)))
    assert jittered(images, 0, 11) is images


def test_turning_by_nothing_is_nothing_and_by_little_keeps_the_middle():
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    assert turned(images, 0.0, 0.0, 5) is images
    found = turned(images, 20.0, 0.2, 5)
    assert torch.equal(found, turned(images, 20.0, 0.2, 5))
    assert not torch.allclose(found, turned(images, 20.0, 0.2, 6))
    torch.testing.assert_close(found[:, :, 4, 4], images[:, :, 4, 4])
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_turned_wide_image_keeps_its_shapes():
    """A bar along the middle of a wide image lies, after a turn, along a line of the angle that was drawn."""
    image = torch.zeros(1, 1, 41, 81)
    image[..., 20, :] = 1
    found = turned(image, 30.0, 0.0, 2)[0, 0]
    centres = [(found[:, column] * torch.arange(41.0)).sum() / found[:, column].sum() for column in (30, 50)]
    slope = math.degrees(math.atan2(float(centres[1] - centres[0]), 20))
    drawn = 30 * (2 * uniforms(2, [0], 2)[0][0] - 1)
    assert abs(slope) == pytest.approx(abs(drawn), abs=1)
    assert abs(drawn) > 5


def test_a_zoom_enlarges_by_what_was_drawn():
    image = torch.zeros(1, 1, 81, 81)
    image[..., 30:51, 30:51] = 1
    scale = 1 + 0.5 * (2 * uniforms(3, [0], 2)[0][1] - 1)
    side = turned(image, 0.0, 0.5, 3).sum().sqrt().item()
    assert side == pytest.approx(21 * scale, rel=0.03)
