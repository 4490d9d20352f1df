"""The network that has learned a style: any size, gradients everywhere, no frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fovea.style.styler import Styler, apply
from tests.style.conftest import picture


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 3), (8, 8), (9, 30), (41, 64), (31, 33)])
def test_a_picture_of_any_size_comes_out_at_its_own(height, width):
    painted = apply(Styler(width=2), picture(0, height, width))
    assert painted.shape == (height, width, 3)
    assert painted.dtype == np.uint8


@pytest.mark.parametrize("normalisation", ["instance", "batch"])
def test_a_gradient_reaches_every_parameter(normalisation):
    styler = Styler(width=3, normalisation=normalisation)
    styler(torch.rand(2, 3, 32, 32)).square().mean().backward()
    # A bias before a normalisation is subtracted again, so that it has none.
    without = {name for name, each in styler.named_parameters() if not each.grad.abs().max() > 1e-7}
    assert all(name.endswith("bias") for name in without)
    assert len(list(styler.parameters())) == 2 * (16 + 15)  # 16 convolutions, 15 normalisations


def test_it_has_the_paper_s_convolutions():
    shapes = [tuple(each.shape) for each in Styler().parameters() if each.ndim == 4]
    down = [(32, 3, 9, 9), (64, 32, 3, 3), (128, 64, 3, 3)]
    assert shapes == [*down, *[(128, 128, 3, 3)] * 10, (64, 128, 3, 3), (32, 64, 3, 3), (3, 32, 9, 9)]


def test_with_instance_normalisation_contrast_does_not_matter():
    torch.manual_seed(0)
    styler = Styler(width=4).eval()
    images = torch.rand(1, 3, 32, 32)
    flat = 0.5 + 0.5 * (images - 0.5)
    with torch.no_grad():
        torch.testing.assert_close(styler(flat), styler(images), rtol=1e-3, atol=1e-3)


def test_without_gradients_it_paints_the_same():
    torch.manual_seed(0)
    styler = Styler(width=4).eval()
    images = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        painted = styler(images)
    torch.testing.assert_close(styler(images).detach(), painted, rtol=1e-4, atol=1e-5)
