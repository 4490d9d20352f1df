"""The mlpconv layer, and the arithmetic of sides."""

import pytest
import torch
from torch import nn

from fovea.errors import ShapeError
from fovea.layers.mlpconv import MlpConv
from fovea.layers.side import side_after


def test_an_mlpconv_is_the_same_perceptron_at_every_position():
    layer = MlpConv(3, (5, 4, 2), 3, padding=1)
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    windows = nn.functional.unfold(images, 3, padding=1).transpose(1, 2)
    for convolution in layer.convolutions:
        windows = torch.relu(windows @ convolution.weight.flatten(1).T + convolution.bias)
    assert torch.allclose(layer(images), windows.transpose(1, 2).reshape(2, 2, 6, 6), atol=1e-5)


def test_an_mlpconv_without_channels_is_refused():
    with pytest.raises(ShapeError, match=r"channels \(=\(4, 0\)\) must be one number or more"):
        MlpConv(3, (4, 0), 3)


STAGES = {
    "strided": nn.Conv2d(1, 2, 5, stride=2, padding=1),
    "pooled": nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=2, ceil_mode=True)),
    "dilated": nn.Conv2d(2, 2, 3, dilation=2, padding=1),
    "mean": nn.AvgPool2d(2, padding=1, ceil_mode=True),
}


@pytest.mark.parametrize("size", range(13, 60))
def test_the_arithmetic_is_that_of_the_modules(size):
    images = torch.zeros(1, 1, size, size)
    for stage in STAGES.values():
        images = stage(images)
    assert side_after(STAGES, size) == images.shape[-1]


def test_the_least_size_is_named_and_works():
    with pytest.raises(ShapeError, match=r"\(=4\) is too small: 1 pixels a side reach pooled .*; 13 is the least"):
        side_after(STAGES, 4)
