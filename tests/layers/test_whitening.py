"""Whitening filters: what they give on the patches they come from is uncorrelated and of variance 1, in both signs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fovea.errors import UsageError
from fovea.layers.whitening import first_convolution, start_whitening, whitening_filters


def images(count=40):
    """Smooth ones: neighbouring pixels and channels go together."""
    drawn = torch.randn(count, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(drawn, 3, stride=1) + 0.3 * drawn[:, :1, 1:-1, 1:-1]


def moments(maps):
    values = maps.double().transpose(0, 1).flatten(1)
    return values @ values.T / values.shape[1]


def test_whitened_patches_have_unit_covariance():
    filters = whitening_filters(images(), (2, 2), floor=0.0)
    assert filters.shape == (12, 3, 2, 2)
    torch.testing.assert_close(moments(F.conv2d(images(), filters)), torch.eye(12).double(), atol=1e-3, rtol=0)
    assert not torch.allclose(moments(F.unfold(images(), 2).unflatten(2, (6, 6))), torch.eye(12).double(), atol=0.1)


def test_the_floor_keeps_directions_of_no_variance_small():
    alike = images()[:, :1].expand(-1, 3, -1, -1)  # three equal channels: 8 of 12 directions are empty
    found = moments(F.conv2d(alike, whitening_filters(alike, (2, 2)))).diagonal()
    assert (found[:4] > 0.9).all()
    assert (found[4:] < 1e-3).all()


def test_the_filters_do_not_depend_on_how_images_are_cut_and_come_in_both_signs(monkeypatch):
    convolution = nn.Conv2d(3, 26, 2)
    last, bias = convolution.weight[24:].clone(), convolution.bias.clone()
    start_whitening(convolution, images())
    filters = convolution.weight.detach()
    assert torch.equal(filters[:12], -filters[12:24])
    assert torch.equal(filters[24:], last)
    assert torch.equal(convolution.bias, bias)
    monkeypatch.setattr("fovea.layers.whitening.AT_ONCE", 7)
    torch.testing.assert_close(whitening_filters(images(), (2, 2)).abs(), filters[:12].abs())


def test_a_convolution_too_small_and_a_network_without_one_are_refused():
    with pytest.raises(UsageError, match=r"of 54 filters or more.* 3×3×3; it has out_channels=16"):
        start_whitening(nn.Conv2d(3, 16, 3), images())
    with pytest.raises(UsageError, match="groups=3"):
        start_whitening(nn.Conv2d(3, 48, 2, groups=3), images())
    with pytest.raises(UsageError, match="Linear has none"):
        first_convolution(nn.Linear(2, 2))
